//! `--device` and `--precision`: where a model runs.

use infer::session::{DeviceId, LibraryFacts, Precision, SessionOptions};

/// Where the model runs.
#[derive(clap::Args)]
pub struct DeviceArguments {
    /// Where it runs: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_parser = device)]
    device: DeviceId,
    /// How a GPU computes what the model has in f32: f32, tf32, f16 or bf16
    #[arg(long, default_value = "f32", value_parser = precision)]
    precision: Precision,
}

impl DeviceArguments {
    /// Settings of a session that runs there, with so many threads on the processor.
    pub fn options(&self, threads: usize) -> SessionOptions {
        SessionOptions { device: self.device, precision: self.precision, threads, ..SessionOptions::default() }
    }

    /// The libraries that may take part there.
    pub fn libraries(&self) -> Vec<LibraryFacts> {
        self.device.libraries()
    }

    /// Whether it is not the processor.
    pub fn is_device(&self) -> bool {
        self.device != DeviceId::Cpu
    }
}

fn device(text: &str) -> Result<DeviceId, String> {
    let unknown = || "it is none of cpu, cuda, cuda:N".to_owned();
    match text.split_once(':') {
        None if text == "cpu" => Ok(DeviceId::Cpu),
        None if text == "cuda" => Ok(DeviceId::Cuda(0)),
        Some(("cuda", number)) => number.parse::<u16>().map(|n| DeviceId::Cuda(n.into())).map_err(|_| unknown()),
        _ => Err(unknown()),
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "tf32" => Ok(Precision::Tf32),
        "f16" => Ok(Precision::F16),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("it is none of f32, tf32, f16, bf16".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_in_python() {
        assert_eq!(device("cpu"), Ok(DeviceId::Cpu));
        assert_eq!(device("cuda"), Ok(DeviceId::Cuda(0)));
        assert_eq!(device("cuda:3"), Ok(DeviceId::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "cuda:70000"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}

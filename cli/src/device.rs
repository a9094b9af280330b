//! `--device`, `--precision` and what goes with them: where a model runs.

use std::str::FromStr;

use infer::session::{DeviceId, LibraryFacts, MemoryReport, Occupied, Precision, SessionOptions};
use serde_json::{Value, json};

use crate::output;

/// Where the model runs.
#[derive(clap::Args)]
pub struct DeviceArguments {
    /// Where it runs: cpu, cuda, cuda:N or cuda:GPU-UUID
    #[arg(long, default_value = "cpu", value_parser = DeviceId::from_str)]
    device: DeviceId,
    /// How a GPU computes what the model has in f32: f32, tf32, f16 or bf16
    #[arg(long, default_value = "f32", value_parser = precision)]
    precision: Precision,
    /// A node that a GPU computes in f32 whatever the precision is; may be given several times
    #[arg(long, value_name = "NODE")]
    keep_f32: Vec<String>,
}

impl DeviceArguments {
    /// Settings of a session that runs there, with so many threads on the processor.
    pub fn options(&self, threads: usize) -> SessionOptions {
        let (device, precision, keep_f32) = (self.device, self.precision, self.keep_f32.clone());
        SessionOptions { device, precision, keep_f32, threads, ..SessionOptions::default() }
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

/// What a session occupies, by what it is for and in which memory.
fn memory(report: &MemoryReport) -> [(&'static str, Vec<(&'static str, u64)>); 2] {
    let MemoryReport { weights, rearranged, occupied, device_weights, .. } = *report;
    let Occupied { arenas, scratch, copies, device_arenas, staging } = occupied;
    let host = [("weights", weights), ("rearranged", rearranged), ("arenas", arenas), ("scratch", scratch)];
    let host = host.into_iter().chain([("copies", copies), ("staging", staging)]);
    [("host", host.collect()), ("gpu", vec![("weights", device_weights), ("arenas", device_arenas)])]
}

/// A line for each memory of which a session occupies something.
pub fn memory_text(report: &MemoryReport) -> String {
    let mut text = String::new();
    for (place, parts) in memory(report) {
        let parts = parts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{} {name}", output::bytes(*n)));
        let parts = parts.collect::<Vec<_>>().join(", ");
        if !parts.is_empty() {
            text += &format!("  memory      {place}: {parts}\n");
        }
    }
    text
}

/// The same, in bytes, with the numbers of contexts and plans.
pub fn memory_json(report: &MemoryReport) -> Value {
    let mut json = json!({"contexts": report.contexts, "plans": report.plans});
    for (place, parts) in memory(report) {
        for (name, bytes) in parts {
            json[place][name] = json!(bytes);
        }
    }
    json
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

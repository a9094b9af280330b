//! Images as inputs, and outputs as images.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};
use infer::error::{Error, Result};
use infer::ops::TensorInfo;
use infer::tensor::DType;

use crate::tensor::Tensor;

/// How a pixel becomes a number: its value, 0 to 1, less the mean, over the deviation of its channel.
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    /// One mean for each channel, or one for all; none is 0.
    pub mean: Vec<f32>,
    /// One deviation for each channel, or one for all; none is 1.
    pub std: Vec<f32>,
}

/// Where an image's channels stand in a tensor of rank 4, 3 or 2.
struct Frame {
    channels: usize,
    height: usize,
    width: usize,
    channels_first: bool,
}

impl Frame {
    /// The image of 1 or 3 channels that extents describe.
    fn of(dims: &[usize]) -> Result<Frame> {
        let plane = if dims.len() == 4 && dims[0] == 1 { &dims[1..] } else { dims };
        let (channels, height, width, channels_first) = match *plane {
            [c @ (1 | 3), h, w] => (c, h, w, true),
            [h, w, c @ (1 | 3)] => (c, h, w, false),
            [h, w] => (1, h, w, true),
            _ => return Err(Error::shape(format!("a tensor of extents {dims:?} is no image of 1 or 3 channels"))),
        };
        Ok(Frame { channels, height, width, channels_first })
    }

    /// The position of a value among the tensor's elements.
    fn at(&self, channel: usize, pixel: usize) -> usize {
        if self.channels_first { channel * self.height * self.width + pixel } else { pixel * self.channels + channel }
    }
}

/// An image file as a tensor of the wanted type and extents: resized, and in as many channels.
pub fn decode(file: &[u8], wanted: &TensorInfo, pixels: &Pixels) -> Result<Tensor> {
    let image = image::load_from_memory(file).map_err(|e| Error::format(e.to_string()))?;
    let frame = Frame::of(&wanted.dims)?;
    let size = |n: usize| u32::try_from(n).map_err(|_| Error::shape(format!("an image of {n} pixels in a row")));
    let image = if (image.width() as usize, image.height() as usize) == (frame.width, frame.height) {
        image
    } else {
        image.resize_exact(size(frame.width)?, size(frame.height)?, FilterType::Triangle)
    };
    let bytes = if frame.channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
    let count = frame.height * frame.width;
    match wanted.dtype {
        DType::U8 => {
            let mut out = vec![0; bytes.len()];
            each(&frame, count, |_, from, to| out[to] = bytes[from]);
            Tensor::new(DType::U8, &wanted.dims, &out)
        }
        DType::F32 => {
            let mut out = vec![0f32; bytes.len()];
            let (mean, std) = (per_channel(&pixels.mean, 0.0), per_channel(&pixels.std, 1.0));
            each(&frame, count, |c, from, to| out[to] = (f32::from(bytes[from]) / 255.0 - mean(c)) / std(c));
            let bytes: Vec<u8> = out.iter().flat_map(|value| value.to_le_bytes()).collect();
            Tensor::new(DType::F32, &wanted.dims, &bytes)
        }
        dtype => Err(Error::dtype(format!("the model wants {dtype}; images become f32 or u8"))),
    }
}

fn per_channel(values: &[f32], otherwise: f32) -> impl Fn(usize) -> f32 {
    move |channel| *values.get(channel).or(values.last()).unwrap_or(&otherwise)
}

/// Calls `visit` with the channel, the position in the image file and the position in the tensor of each value.
fn each(frame: &Frame, count: usize, mut visit: impl FnMut(usize, usize, usize)) {
    for pixel in 0..count {
        for channel in 0..frame.channels {
            visit(channel, pixel * frame.channels + channel, frame.at(channel, pixel));
        }
    }
}

/// A tensor as an image file: u8 as it is, f32 from 0 to 1.
pub fn encode(tensor: &Tensor, ending: &str) -> Result<Vec<u8>> {
    let frame = Frame::of(&tensor.info.dims)?;
    let value: Box<dyn Fn(usize) -> u8> = match tensor.info.dtype {
        DType::U8 => Box::new(|at| tensor.data[at]),
        DType::F32 => Box::new(|at| {
            let bytes = tensor.data[at * 4..][..4].first_chunk().copied().unwrap_or_default();
            (f32::from_le_bytes(bytes) * 255.0).round().clamp(0.0, 255.0) as u8
        }),
        dtype => return Err(Error::dtype(format!("{dtype} cannot become an image; f32 and u8 can"))),
    };
    let mut bytes = vec![0; frame.channels * frame.height * frame.width];
    each(&frame, frame.height * frame.width, |_, to, from| bytes[to] = value(from));
    let (width, height) = (frame.width as u32, frame.height as u32);
    let image = if frame.channels == 1 {
        image::GrayImage::from_raw(width, height, bytes).map(DynamicImage::from)
    } else {
        image::RgbImage::from_raw(width, height, bytes).map(DynamicImage::from)
    };
    let image = image.ok_or_else(|| Error::shape("the tensor is too large for an image"))?;
    let format = if ending == "png" { ImageFormat::Png } else { ImageFormat::Pnm };
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).map_err(|e| Error::unsupported(e.to_string()))?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use infer::tensor::Dims;

    use super::*;

    #[test]
    fn an_image_goes_there_and_back() {
        for (dtype, dims) in [(DType::U8, &[2, 3, 3][..]), (DType::F32, &[1, 3, 2, 2]), (DType::F32, &[4, 5])] {
            let info = TensorInfo { dtype, dims: Dims::new(dims) };
            let values = (0..info.numel()).map(|i| (i * 7) as u8);
            let bytes: Vec<u8> = match dtype {
                DType::F32 => values.flat_map(|v| (f32::from(v) / 255.0).to_le_bytes()).collect(),
                _ => values.collect(),
            };
            let tensor = Tensor::new(dtype, dims, &bytes).unwrap();
            for ending in ["png", "ppm"] {
                let file = encode(&tensor, ending).unwrap();
                assert_eq!(decode(&file, &info, &Pixels::default()).unwrap().data[..], tensor.data[..], "{ending}");
            }
        }
    }
}

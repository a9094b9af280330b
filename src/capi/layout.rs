//! Sizes and offsets with which C programs have been compiled. They may never change: new fields go to the end of a
//! struct, and its new size to the end of [`Versioned::SIZES`]. `tests/c/layout.c` says the same of the header.

use std::mem::offset_of;

use super::device::infer_device_info;
use super::error::infer_error;
use super::report::infer_memory_info;
use super::run_options::infer_run_options;
use super::sized::Versioned;
use super::tensor::{infer_tensor, infer_tensor_info};

/// Fails to compile unless the fields lie at these offsets and the struct has the last one as its size.
macro_rules! layout {
    ($name:ident: $($field:ident $at:literal),*; $size:literal) => {
        const _: () = {
            $(assert!(offset_of!($name, $field) == $at);)*
            assert!(size_of::<$name>() == $size);
            let sizes = <$name as Versioned>::SIZES;
            assert!(sizes[sizes.len() - 1] == $size);
        };
    };
}

layout!(infer_error: struct_size 0, status 4, os_error 8, reserved 12, message 16, node 528, op 656; 720);
layout!(infer_tensor: struct_size 0, dtype 4, rank 8, flags 12, device 16, device_id 20, data 24, byte_len 32, capacity 40,
    shape 48, strides 112, owner 176; 184);
layout!(infer_tensor_info: struct_size 0, dtype 4, rank 8, reserved 12, name 16, shape 24, dim_names 88, dim_min 152,
    dim_max 216; 280);
layout!(infer_run_options: struct_size 0, flags 4, timeout_ns 8, cancel 16, stream 24, event 32, done 40,
    user_data 48; 56);
layout!(infer_device_info: struct_size 0, capability 4, units 8, reserved 12, memory 16, memory_used 24, memory_reserved 32,
    uuid 40, name 56; 184);
layout!(infer_memory_info: struct_size 0, contexts 4, weights 8, rearranged 16, arenas 24, scratch 32, copies 40, plans 48,
    device_weights 56, device_arenas 64, staging 72; 80);

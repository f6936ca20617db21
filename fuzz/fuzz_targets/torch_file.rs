//! A file of `torch.save` of any bytes: every tensor it is said to hold can be read, and is as large as it says.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod looked_at;

fuzz_target!(|bytes: &[u8]| {
    looked_at::read(bytes, tensor_files::read_torch(bytes));
});

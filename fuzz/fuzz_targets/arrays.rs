#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = rigl_fuzz::targets::arrays::header(bytes);
});

#![no_main]

use rtrec_fuzz::ration::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| rtrec_fuzz::check(rtrec_fuzz::entry::windows, data));

// SPDX-License-Identifier: MIT
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| strongroom_parsers::token(bytes));

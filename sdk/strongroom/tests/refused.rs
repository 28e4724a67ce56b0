// SPDX-License-Identifier: MIT
//! What cannot be a service is refused with words that say what to do.

#[test]
fn what_is_not_supported_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}

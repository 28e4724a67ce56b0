// SPDX-License-Identifier: MIT
//! What makes a trusted application of the service, where it is built for OP-TEE.

/// The trusted application's name: keys and sealed storage belong to it. `run` has it too.
const NAME: &str = "{{uuid}}";

fn main() -> Result<(), strongroom_service_build::Error> {
    strongroom_service_build::trusted_application(NAME)
}

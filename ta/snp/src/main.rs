// SPDX-License-Identifier: MIT
//! The SNP guest payload: the kernel on the bare machine.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    allow(unsafe_code, reason = "the boot code finds the entry by its symbol")
)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod payload {
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use strongroom_kernel::{Kernel, Outcome};
    use strongroom_snp::machine::{self, Payload};
    use strongroom_snp::{Progress, Workload};
    use strongroom_wire::Untrusted;
    use strongroom_wire::boot::Record;

    /// Called by the boot code.
    #[unsafe(no_mangle)]
    extern "C" fn payload_main(start_info: u64) -> ! {
        // SAFETY: this is the one call, from the boot code.
        unsafe { machine::start(start_info, build) }
    }

    fn build(machine: &'static Payload, record: Record) -> Option<Box<dyn Workload>> {
        let kernel = Kernel::new(machine, record).ok()?;
        Some(Box::new(Driven(kernel)))
    }

    struct Driven(&'static Kernel);

    impl Workload for Driven {
        fn run(&mut self) -> Progress {
            match self.0.run() {
                Outcome::Busy => Progress::Busy,
                Outcome::Idle { until_ns } => Progress::Idle { until_ns },
                Outcome::Ended => Progress::Ended,
            }
        }

        fn take_message(&mut self) -> Option<Vec<u8>> {
            self.0.take_message()
        }

        fn receive(&mut self, message: Untrusted<'_>) {
            self.0.receive(message);
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("this is a bare-metal program: build it for x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}

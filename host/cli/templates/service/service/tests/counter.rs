// SPDX-License-Identifier: MIT
//! The service in this process, on a machine that the test decides over.

use strongroom::{CallError, platform::StorageError};
use strongroom_testing::{Fake, InProcess};
use {{crate}}::{CountError, CounterClient, CounterInterface, Keeper};

type Client = CounterClient<InProcess<Keeper, CounterInterface>>;

fn connect(machine: &Fake) -> Client {
    CounterClient::connect(machine.serve()).expect("a session")
}

#[test]
fn the_count_is_everybodys_and_stays() {
    let machine = Fake::new();
    assert_eq!(connect(&machine).add(2), Ok(2));
    assert_eq!(connect(&machine).add(3), Ok(5));
    assert_eq!(connect(&machine).count(), Ok(5));
}

#[test]
fn a_count_that_was_tampered_with_is_not_taken_for_one() {
    let machine = Fake::new();
    connect(&machine).add(1).expect("a count");
    machine.damage();
    let damaged = CallError::Service(CountError::Storage(StorageError::Damaged));
    assert_eq!(connect(&machine).count(), Err(damaged));
}

strongroom_testing::fuzz!(Keeper, CounterInterface);

// SPDX-License-Identifier: MIT
//! A call allocates nothing on the enclave's side, nor on the client's: both are in this process.

mod bench;

use allocation_counter::measure;
use bench::{BenchClient, BenchInterface, MyBench};
use strongroom_testing::Fake;

#[test]
fn no_allocation_after_the_first_call() {
    let mut client = BenchClient::connect(Fake::new().serve::<MyBench, BenchInterface>()).unwrap();
    client.nothing().unwrap();
    let counted = measure(|| {
        for number in 0..1000 {
            client.nothing().unwrap();
            client.add(number).unwrap();
            let _ = client.even(5).unwrap_err();
        }
    });
    assert_eq!(counted.count_total, 0);
    // Counting works: a result on the heap is one.
    assert!(measure(|| drop(client.joined("a", &[], None))).count_total > 0);
}

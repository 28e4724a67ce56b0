// SPDX-License-Identifier: MIT
//! The vault on a machine that the test decides over: its storage, its host, and its power.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use std::thread;
use strongroom::{CallError, ConnectError, OpenError};
use strongroom_testing::{Fake, InProcess, fuzz};
use strongroom_vault::{
    ENTRIES_MAX, MyVault, NAME_MAX, PASSWORD_MAX, PIN_MAX, TRIES, VaultClient, VaultError,
    VaultInterface,
};

type Client = VaultClient<InProcess<MyVault, VaultInterface>>;

const fn says<T>(error: VaultError) -> Result<T, CallError<VaultError>> {
    Err(CallError::Service(error))
}

fn connect(machine: &Fake) -> Client {
    Client::connect(machine.serve()).unwrap()
}

/// A machine with a vault behind 1234, with one password, and the vault's code.
fn set_up() -> (Fake, [u8; 16]) {
    let machine = Fake::new();
    let mut client = connect(&machine);
    let code = client.set_up("1234").unwrap();
    client.put("mail", "hush").unwrap();
    (machine, code)
}

#[test]
fn passwords_are_there_for_who_knows_the_pin() {
    let (machine, _) = set_up();
    let mut client = connect(&machine);
    assert_eq!(client.get("mail"), says(VaultError::NotUnlocked));
    assert_eq!(client.put("x", "y"), says(VaultError::NotUnlocked));
    assert_eq!(client.names(), says(VaultError::NotUnlocked));
    client.unlock("1234").unwrap();
    assert_eq!(client.get("mail").unwrap(), "hush");
    assert_eq!(client.get("bank"), says(VaultError::Absent));
    client.put("bank", "very").unwrap();
    client.put("mail", "new").unwrap();
    assert_eq!(
        (client.names().unwrap(), client.get("mail").unwrap()),
        (vec!["bank".to_owned(), "mail".to_owned()], "new".to_owned())
    );
    client.delete("mail").unwrap();
    assert_eq!(client.delete("mail"), says(VaultError::Absent));
    assert_eq!(client.unlock("0000"), says(VaultError::WrongPin(TRIES - 1)));
    assert_eq!(client.names(), says(VaultError::NotUnlocked), "a wrong PIN locks the session");
}

#[test]
fn too_many_wrong_pins_lock_it_until_it_is_recovered() {
    let (machine, code) = set_up();
    for left in (0..TRIES).rev() {
        assert_eq!(connect(&machine).unlock("0000"), says(VaultError::WrongPin(left)));
    }
    assert_eq!(connect(&machine).unlock("1234"), says(VaultError::Locked));
    assert_eq!(connect(&machine).tries(), Ok(0));
    assert_eq!(connect(&machine).recover([0; 16], "5678"), says(VaultError::WrongCode));
    let mut client = connect(&machine);
    client.recover(code, "5678").unwrap();
    assert_eq!(client.get("mail").unwrap(), "hush");
    assert_eq!(connect(&machine).unlock("1234"), says(VaultError::WrongPin(TRIES - 1)));
    connect(&machine).unlock("5678").unwrap();
    assert_eq!(connect(&machine).tries(), Ok(TRIES), "the right one gives them back");
}

/// The power goes as soon as the try is written down, before anybody knows what came of it.
#[test]
fn a_power_cut_gives_no_try_back() {
    let (machine, _) = set_up();
    for left in (0..TRIES).rev() {
        machine.cut_power_after(1);
        assert_eq!(connect(&machine).unlock("0000"), Err(CallError::Panicked));
        assert_eq!(connect(&machine).tries(), Ok(left));
    }
    assert_eq!(connect(&machine).unlock("1234"), says(VaultError::Locked));
}

#[test]
fn a_power_cut_at_any_other_time_leaves_a_vault() {
    // The right PIN: cut after its second write, and the tries are whole.
    let (machine, code) = set_up();
    machine.cut_power_after(2);
    assert_eq!(connect(&machine).unlock("1234"), Err(CallError::Panicked));
    assert_eq!(connect(&machine).tries(), Ok(TRIES));
    machine.cut_power_after(1);
    assert_eq!(connect(&machine).recover(code, "5678"), Err(CallError::Panicked));
    let mut client = connect(&machine);
    client.unlock("5678").unwrap();
    machine.cut_power_after(1);
    assert_eq!(client.put("bank", "very"), Err(CallError::Panicked));
    let mut client = connect(&machine);
    client.unlock("5678").unwrap();
    assert_eq!(client.get("bank").unwrap(), "very");
}

/// Nobody guesses more often by guessing at the same time.
#[test]
fn sessions_at_the_same_time_have_the_tries_of_one() {
    let (machine, _) = set_up();
    let guess = || connect(&machine).unlock("0000");
    let guessed = thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(guess)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let compared = guessed.iter().filter(|said| **said != says(VaultError::Locked)).count();
    assert_eq!(compared, usize::from(TRIES), "{guessed:?}");
}

#[test]
fn a_try_that_cannot_be_written_down_is_not_made() {
    let (machine, _) = set_up();
    machine.set_full(true);
    for pin in ["1234", "0000"] {
        let said = connect(&machine).unlock(pin).unwrap_err();
        assert!(matches!(said, CallError::Service(VaultError::Key(_))), "{pin}: {said:?}");
    }
}

/// `Sealed<NoFreshness>`: what nobody can prevent without a counter that the host does not hold.
#[test]
fn a_host_that_restores_old_storage_gets_its_tries_back() {
    let (machine, _) = set_up();
    let old = machine.stored();
    for _ in 0..TRIES {
        connect(&machine).unlock("0000").unwrap_err();
    }
    assert_eq!(connect(&machine).unlock("1234"), says(VaultError::Locked));
    machine.restore(&old);
    assert_eq!(connect(&machine).unlock("0000"), says(VaultError::WrongPin(TRIES - 1)));
    connect(&machine).unlock("1234").unwrap();
}

/// A host that deletes what counts the tries gets a vault of its own, and not the passwords.
#[test]
fn without_its_guard_nobody_reads_what_was_in_the_vault() {
    let (machine, _) = set_up();
    machine.platform().sealed().delete("guard").unwrap();
    assert_eq!(connect(&machine).unlock("1234"), says(VaultError::New));
    let mut client = connect(&machine);
    client.set_up("0000").unwrap();
    client.get("mail").unwrap_err();
    client.names().unwrap_err();
}

#[test]
fn limits_hold() {
    let machine = Fake::new();
    let mut client = connect(&machine);
    assert_eq!(client.tries(), says(VaultError::New));
    for pin in ["", "123", &"1".repeat(PIN_MAX + 1)] {
        assert_eq!(client.set_up(pin), says(VaultError::PinLength));
    }
    client.set_up(&"1".repeat(PIN_MAX)).unwrap();
    assert_eq!(client.set_up("1234"), says(VaultError::Exists));
    for (name, password) in [("", 1), (&*"n".repeat(NAME_MAX + 1), 1), ("n", PASSWORD_MAX + 1)] {
        assert_eq!(client.put(name, &"p".repeat(password)), says(VaultError::TooLarge));
    }
    for number in 0..ENTRIES_MAX {
        client.put(&format!("{number:0>NAME_MAX$}"), &"p".repeat(PASSWORD_MAX)).unwrap();
    }
    assert_eq!(client.put("one more", ""), says(VaultError::TooLarge));
    assert_eq!(client.names().unwrap().len(), ENTRIES_MAX);
}

#[test]
fn damaged_storage_opens_no_session() {
    let (machine, _) = set_up();
    machine.damage();
    let refused = Client::connect(machine.serve()).unwrap_err();
    assert_eq!(refused, ConnectError::Refused(OpenError::Storage));
}

fuzz!(MyVault, VaultInterface, 1000);

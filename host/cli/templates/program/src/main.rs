// SPDX-License-Identifier: MIT
//! A program for an enclave. Nothing in it knows that there is one.

use std::{env, fs};

fn main() {
    let system = fs::read_to_string("/proc/version").unwrap_or_default();
    println!("{}", greeting(env::args().nth(1).as_deref()));
    println!("this is {}", system.trim());
}

/// What a stranger is told, and what somebody is who said a name.
fn greeting(name: Option<&str>) -> String {
    format!("Hello, {}.", name.unwrap_or("stranger"))
}

#[cfg(test)]
mod tests {
    use super::greeting;

    #[test]
    fn names_are_said() {
        assert_eq!(greeting(Some("Ada")), "Hello, Ada.");
        assert_eq!(greeting(None), "Hello, stranger.");
    }
}

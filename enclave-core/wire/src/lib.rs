// SPDX-License-Identifier: MIT
//! A contract of the enclave.
#![no_std]

// SPDX-License-Identifier: MIT
//! Round trips

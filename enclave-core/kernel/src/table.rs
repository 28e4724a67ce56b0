// SPDX-License-Identifier: MIT
//! The table of system calls, as data: what is served, how far, and by which function.

use crate::calls;
use crate::outcome::SysResult;
use crate::task::{Call, Quick};
use strongroom_abi::{Errno, NUMBER_END, Sysno, arch};

/// How far a call is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does.
    Full,
    /// With what is missing.
    Partial(&'static str),
    /// Answered on purpose with an errno, and why.
    Refused(&'static str),
}

pub(crate) type Handler = fn(&mut Call<'_>) -> SysResult;

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The call.
    pub call: Sysno,
    /// How far it is served.
    pub support: Support,
    pub(crate) handler: Handler,
}

/// Makes a [`Row`]: `row!(Read, read(3), Full)` gives `read` its three arguments, typed as its
/// signature says.
macro_rules! row {
    ($call:ident, $function:ident($count:tt), $support:ident $(($note:literal))?) => {
        $crate::table::Row {
            call: strongroom_abi::Sysno::$call,
            support: $crate::table::Support::$support $(($note))?,
            handler: |call| $crate::table::row!(@ $count, $function, call),
        }
    };
    (@ 0, $function:ident, $call:ident) => { $function($call) };
    (@ 1, $function:ident, $call:ident) => {{
        let [a, ..] = $call.arguments;
        $function($call, $crate::user::FromArgument::from_argument(a)?)
    }};
    (@ 2, $function:ident, $call:ident) => {{
        use $crate::user::FromArgument as F;
        let [a, b, ..] = $call.arguments;
        $function($call, F::from_argument(a)?, F::from_argument(b)?)
    }};
    (@ 3, $function:ident, $call:ident) => {{
        use $crate::user::FromArgument as F;
        let [a, b, c, ..] = $call.arguments;
        $function($call, F::from_argument(a)?, F::from_argument(b)?, F::from_argument(c)?)
    }};
    (@ 4, $function:ident, $call:ident) => {{
        use $crate::user::FromArgument as F;
        let [a, b, c, d, ..] = $call.arguments;
        $function(
            $call,
            F::from_argument(a)?, F::from_argument(b)?, F::from_argument(c)?, F::from_argument(d)?,
        )
    }};
    (@ 5, $function:ident, $call:ident) => {{
        use $crate::user::FromArgument as F;
        let [a, b, c, d, e, ..] = $call.arguments;
        $function(
            $call,
            F::from_argument(a)?, F::from_argument(b)?, F::from_argument(c)?, F::from_argument(d)?,
            F::from_argument(e)?,
        )
    }};
    (@ 6, $function:ident, $call:ident) => {{
        use $crate::user::FromArgument as F;
        let [a, b, c, d, e, f] = $call.arguments;
        $function(
            $call,
            F::from_argument(a)?, F::from_argument(b)?, F::from_argument(c)?, F::from_argument(d)?,
            F::from_argument(e)?, F::from_argument(f)?,
        )
    }};
}
pub(crate) use row;

/// What a number leads to.
#[derive(Clone, Copy)]
struct Entry {
    handler: Handler,
    /// Whether it is one of [`calls::MAKERS`].
    makes: bool,
}

/// All that is served, by family.
pub const FAMILIES: &[(&str, &[Row])] = calls::FAMILIES;

static ENTRIES: [Entry; NUMBER_END] = index();

const fn index() -> [Entry; NUMBER_END] {
    let mut entries = [Entry { handler: missing, makes: false }; NUMBER_END];
    let mut families = FAMILIES;
    while let [(_, rows), rest @ ..] = families {
        let mut rows = *rows;
        while let [row, others @ ..] = rows {
            if let Some(number) = arch::number_of(row.call) {
                let (_, tail) = entries.split_at_mut(number as usize);
                if let [slot, ..] = tail {
                    *slot = Entry { handler: row.handler, makes: makes(row.call) };
                }
            }
            rows = others;
        }
        families = rest;
    }
    entries
}

const fn makes(call: Sysno) -> bool {
    let mut rest = calls::MAKERS;
    while let [maker, others @ ..] = rest {
        if *maker as usize == call as usize {
            return true;
        }
        rest = others;
    }
    false
}

/// Answers a call without changing anything else, or declines.
pub(crate) type QuickHandler = fn(&Quick<'_>, &arch::Registers) -> Option<isize>;

static QUICK: [Option<QuickHandler>; NUMBER_END] = quick_index();

const fn quick_index() -> [Option<QuickHandler>; NUMBER_END] {
    let mut handlers = [None; NUMBER_END];
    let mut rest = calls::QUICK;
    while let [(call, handler), others @ ..] = rest {
        if let Some(number) = arch::number_of(*call) {
            let (_, tail) = handlers.split_at_mut(number as usize);
            if let [slot, ..] = tail {
                *slot = Some(*handler);
            }
        }
        rest = others;
    }
    handlers
}

/// The first of two levels: calls that need no more than a look. `None` leads to [`dispatch`].
#[inline]
pub(crate) fn answer_at_once(
    number: usize,
    quick: &Quick<'_>,
    registers: &arch::Registers,
) -> Option<isize> {
    QUICK.get(number).copied().flatten()?(quick, registers)
}

/// Serves the call whose number and arguments are in `call`.
pub(crate) fn dispatch(number: usize, call: &mut Call<'_>) -> SysResult {
    let Some(entry) = ENTRIES.get(number) else { return Err(Errno::ENOSYS.into()) };
    if entry.makes {
        call.kernel.check_heap()?;
    }
    (entry.handler)(call)
}

fn missing(call: &mut Call<'_>) -> SysResult {
    call.kernel.report_missing(call.number);
    Err(Errno::ENOSYS.into())
}

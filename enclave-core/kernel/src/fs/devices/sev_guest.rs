// SPDX-License-Identifier: MIT
//! `/dev/sev-guest` (Linux, *Documentation/virt/coco/sev-guest.rst*).
//!
//! A request's buffers are cleared before the security processor is asked: a call that has to wait
//! for a page then asks no more often than once.

use crate::evidence::{CERTIFICATES_MAX, ForPrograms};
use crate::fs::{Attributes, File, InodeId, Kind, OpenFile};
use crate::memory::Memory;
use crate::outcome::SysResult;
use crate::task::{Call, Thread};
use crate::user::UserPtr;
use alloc::string::String;
use alloc::vec::Vec;
use core::any::Any;
use strongroom_abi::Errno;
use strongroom_abi::sev_guest::{
    SNP_GET_DERIVED_KEY, SNP_GET_EXT_REPORT, SNP_GET_REPORT, SNP_GUEST_VMM_ERR_BUSY,
    SNP_GUEST_VMM_ERR_INVALID_LEN, SNP_KEY_RESPONSE_LEN, SNP_REPORT_RESPONSE_LEN,
    SnpDerivedKeyRequest, SnpExtendedReportRequest, SnpGuestRequest, SnpReportRequest,
    SnpResponseHead,
};
use strongroom_south::{KeyRequest, PAGE_SIZE, ReportRequest, SecurityError};
use zerocopy::IntoBytes as _;

/// `fw_error` of a request that the security processor did not get to see.
const NOT_ASKED: u32 = 0xff;

/// The open device.
pub(super) struct SevGuest(pub(super) ForPrograms);

/// How a request ended that got as far as the security processor.
enum Verdict {
    /// With a response in the program's buffer.
    Answered,
    /// With an error, and the words that explain it.
    Failed { errno: Errno, fw_error: u32, vmm_error: u32 },
}

impl Verdict {
    /// The host's part in it went wrong.
    const fn host(errno: Errno, vmm_error: u32) -> Self {
        Self::Failed { errno, fw_error: 0, vmm_error }
    }
}

impl File for SevGuest {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn pollable(&self) -> bool {
        false
    }

    fn ioctl(
        &self,
        call: &mut Call<'_>,
        _open: &OpenFile,
        request: u32,
        argument: usize,
    ) -> SysResult {
        let at = UserPtr::<SnpGuestRequest>::at(argument);
        let input = at.read(call.memory)?;
        if input.msg_version == 0 {
            return Err(Errno::EINVAL.into());
        }
        let serve = match request {
            SNP_GET_REPORT => Self::report,
            SNP_GET_DERIVED_KEY => Self::derived_key,
            SNP_GET_EXT_REPORT => Self::extended_report,
            _ => return Err(Errno::ENOTTY.into()),
        };
        if input.req_data == 0 || input.resp_data == 0 {
            return Err(Errno::EINVAL.into());
        }
        match serve(self, call.memory, &input)? {
            Verdict::Answered => Ok(0),
            Verdict::Failed { errno, fw_error, vmm_error } => {
                at.write(call.memory, &SnpGuestRequest { fw_error, vmm_error, ..input })?;
                Err(errno.into())
            }
        }
    }

    fn attributes(&self, _by: &Thread) -> SysResult<Attributes> {
        let id = InodeId { device: 0, number: 0 };
        Ok(Attributes::anonymous(Kind::CharacterDevice, id, 0o600))
    }

    fn label(&self) -> String {
        String::from("/dev/sev-guest")
    }
}

impl SevGuest {
    fn report(&self, memory: &Memory, input: &SnpGuestRequest) -> SysResult<Verdict> {
        let asked = UserPtr::<SnpReportRequest>::at(input.req_data as usize).read(memory)?;
        clear(memory, input.resp_data, SNP_REPORT_RESPONSE_LEN)?;
        let report = self.0.report(&request_of(&asked, false));
        answer_with_report(memory, input, report.map(|report| report.bytes))
    }

    fn derived_key(&self, memory: &Memory, input: &SnpGuestRequest) -> SysResult<Verdict> {
        let asked = UserPtr::<SnpDerivedKeyRequest>::at(input.req_data as usize).read(memory)?;
        clear(memory, input.resp_data, SNP_KEY_RESPONSE_LEN)?;
        let key = self.0.derive_key(&KeyRequest {
            root_key: asked.root_key_select,
            fields: asked.guest_field_select,
            vmpl: asked.vmpl,
            guest_svn: asked.guest_svn,
            tcb_version: asked.tcb_version,
        });
        answer(memory, input, key.as_ref().map(|key| (key.as_slice(), 0)).map_err(|error| *error))
    }

    fn extended_report(&self, memory: &Memory, input: &SnpGuestRequest) -> SysResult<Verdict> {
        let at = UserPtr::<SnpExtendedReportRequest>::at(input.req_data as usize);
        let mut asked = at.read(memory)?;
        let room = if asked.certs_address == 0 { 0 } else { asked.certs_len as usize };
        if room > CERTIFICATES_MAX || !room.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL.into());
        }
        clear(memory, input.resp_data, SNP_REPORT_RESPONSE_LEN)?;
        clear(memory, asked.certs_address, room)?;
        // Without room too: programs ask like that how much they need.
        let report = match self.0.report(&request_of(&asked.data, true)) {
            Ok(report) => report,
            Err(error) => return answer_with_report(memory, input, Err(error)),
        };
        let needed = report.certificates.len().next_multiple_of(PAGE_SIZE);
        if needed > room {
            asked.certs_len = needed as u32;
            at.write(memory, &asked)?;
            return Ok(Verdict::host(Errno::EIO, SNP_GUEST_VMM_ERR_INVALID_LEN));
        }
        memory.space().copy_out(asked.certs_address as usize, &report.certificates)?;
        answer_with_report(memory, input, Ok(report.bytes))
    }
}

/// The key selection was reserved, and zero, in the first version of the request.
fn request_of(asked: &SnpReportRequest, certificates: bool) -> ReportRequest {
    let mut data = [0; 64];
    data.iter_mut().zip(asked.user_data.as_flattened()).for_each(|(to, from)| *to = *from);
    ReportRequest { data, vmpl: asked.vmpl, key_selection: asked.key_sel, certificates }
}

fn clear(memory: &Memory, address: u64, length: usize) -> SysResult<()> {
    Ok(memory.space().zero(address as usize, length)?)
}

fn answer_with_report(
    memory: &Memory,
    input: &SnpGuestRequest,
    report: Result<Vec<u8>, SecurityError>,
) -> SysResult<Verdict> {
    const ROOM: usize = SNP_REPORT_RESPONSE_LEN - size_of::<SnpResponseHead>();
    match &report {
        Ok(bytes) if bytes.len() > ROOM => Err(Errno::EIO.into()),
        Ok(bytes) => answer(memory, input, Ok((bytes, bytes.len() as u32))),
        Err(error) => answer(memory, input, Err(*error)),
    }
}

/// Copies a response out: a head with the security processor's status and the length it names,
/// then what it gave.
fn answer(
    memory: &Memory,
    input: &SnpGuestRequest,
    given: Result<(&[u8], u32), SecurityError>,
) -> SysResult<Verdict> {
    let (status, body, report_size) = match given {
        Ok((body, report_size)) => (0, body, report_size),
        Err(SecurityError::Refused(status)) => (status, &[][..], 0),
        Err(SecurityError::Busy) => {
            return Ok(Verdict::host(Errno::ETIMEDOUT, SNP_GUEST_VMM_ERR_BUSY));
        }
        Err(SecurityError::Broken) => {
            return Ok(Verdict::Failed { errno: Errno::ENOTTY, fw_error: NOT_ASKED, vmm_error: 0 });
        }
    };
    let head = SnpResponseHead { status, report_size, ..SnpResponseHead::default() };
    let at = input.resp_data as usize;
    memory.space().copy_out(at, head.as_bytes())?;
    memory.space().copy_out(at.wrapping_add(size_of::<SnpResponseHead>()), body)?;
    Ok(Verdict::Answered)
}

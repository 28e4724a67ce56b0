// SPDX-License-Identifier: MIT
//! `/dev/sev-guest`: how programs ask AMD's security processor (`linux/sev-guest.h`; Linux,
//! *Documentation/virt/coco/sev-guest.rst*).

use crate::structs::plain;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `ioctl(SNP_GET_REPORT)`.
pub const SNP_GET_REPORT: u32 = 0xc020_5300;
/// `ioctl(SNP_GET_DERIVED_KEY)`.
pub const SNP_GET_DERIVED_KEY: u32 = 0xc020_5301;
/// `ioctl(SNP_GET_EXT_REPORT)`.
pub const SNP_GET_EXT_REPORT: u32 = 0xc020_5302;

/// Bytes of `struct snp_report_resp`.
pub const SNP_REPORT_RESPONSE_LEN: usize = 4000;
/// Bytes of `struct snp_derived_key_resp`.
pub const SNP_KEY_RESPONSE_LEN: usize = 64;
/// `SNP_GUEST_VMM_ERR_INVALID_LEN`.
pub const SNP_GUEST_VMM_ERR_INVALID_LEN: u32 = 1;
/// `SNP_GUEST_VMM_ERR_BUSY`.
pub const SNP_GUEST_VMM_ERR_BUSY: u32 = 2;
/// `SEV_RET_INVALID_PARAM`, a status of the security processor.
pub const SEV_RET_INVALID_PARAM: u32 = 0x16;
/// `SEV_RET_INVALID_KEY`.
pub const SEV_RET_INVALID_KEY: u32 = 0x27;

plain! {
    /// `struct snp_guest_request_ioctl`.
    SnpGuestRequest (32) {
        msg_version: u8, padding: [u8; 7], req_data: u64, resp_data: u64, fw_error: u32, vmm_error: u32,
    }
    /// `struct snp_report_req`; the last bytes of it are `KEY_SEL` and reserved ones.
    SnpReportRequest (96) {
        user_data: [[u8; 32]; 2], vmpl: u32, key_sel: u32, reserved: [u8; 24],
    }
    /// `struct snp_ext_report_req`.
    SnpExtendedReportRequest (112) {
        data: SnpReportRequest, certs_address: u64, certs_len: u32, padding: u32,
    }
    /// `struct snp_derived_key_req`.
    SnpDerivedKeyRequest (32) {
        root_key_select: u32, reserved: u32, guest_field_select: u64, vmpl: u32, guest_svn: u32,
        tcb_version: u64,
    }
    /// The head of `struct snp_report_resp` and of `struct snp_derived_key_resp`: `MSG_REPORT_RSP`
    /// and `MSG_KEY_RSP`.
    SnpResponseHead (32) { status: u32, report_size: u32, reserved: [u8; 24], }
}

// SPDX-License-Identifier: MIT
//! The payload's channel with the simulation's security processor: two implementations of one
//! format, with ciphers of two libraries, and nothing in between.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected is to fail")]

use strongroom_psp::{Installation, Launch, Page, Processor, SecurityProcessor as _};
use strongroom_snp::sev::certificates::table_len;
use strongroom_snp::sev::channel::{Carried, Carrier, Channel};
use strongroom_snp::sev::cpuid::CpuidPage;
use strongroom_snp::sev::question::Question;
use strongroom_snp::sev::secrets::Secrets;
use strongroom_south::{KeyRequest, ReportRequest, SecurityError};

struct Wire(Processor);

impl Carrier for Wire {
    fn carry(&mut self, request: &Page, response: &mut Page, _: bool) -> Carried {
        match self.0.request(request) {
            Ok(answer) => {
                *response = answer;
                Carried::Answered
            }
            Err(_) => Carried::Failed,
        }
    }
}

#[test]
fn both_sides_agree_on_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let chip = Installation::open(&folder.path().join("psp")).unwrap();
    let launch = Launch::new([0x4d; 48]).unwrap();
    let secrets = Secrets::parse(&launch.secrets_page()).unwrap();
    let mut channel = Channel::new(0, &secrets.vmpck0, secrets.sequence);
    let mut wire = Wire(Processor::new(chip, launch));
    let request =
        ReportRequest { data: [0xda; 64], vmpl: 1, key_selection: 1, certificates: false };
    let report = channel.ask(Question::Report(request), &mut wire).unwrap();
    assert_eq!(report.get(0x50..0x90), Some(&[0xda; 64][..]));
    assert_eq!(report.get(0x90..0xc0), Some(&[0x4d; 48][..]));

    let other = Question::Report(ReportRequest { vmpl: 9, ..request });
    assert_eq!(channel.ask(other, &mut wire), Err(SecurityError::Refused(0x16)));
    let key = KeyRequest { root_key: 0, fields: 0x3f, vmpl: 3, guest_svn: 0, tcb_version: 4 };
    assert_eq!(channel.ask(Question::Key(key), &mut wire).unwrap().len(), 32);
    let later = Question::Key(KeyRequest { guest_svn: 1, ..key });
    assert_eq!(channel.ask(later, &mut wire), Err(SecurityError::Refused(0x16)));

    let certificates = wire.0.certificates();
    let mut area = certificates.clone();
    area.resize(16 * 4096, 0);
    assert_eq!(table_len(&area), Some(certificates.len()));

    // Somebody else's key: whatever is sent is refused, and the channel closes.
    let mut stranger = Channel::new(0, &[1; 32], 6);
    assert_eq!(stranger.ask(Question::Key(key), &mut wire), Err(SecurityError::Broken));
    // The first one's number is still the next.
    assert!(channel.ask(Question::Key(key), &mut wire).is_ok());
}

#[test]
fn the_private_bit_is_where_the_image_has_it() {
    let page = CpuidPage::parse(strongroom_psp::cpuid_page()).unwrap();
    assert_eq!(page.private_bit(), Some(strongroom_snp_layout::PRIVATE_BIT));
}

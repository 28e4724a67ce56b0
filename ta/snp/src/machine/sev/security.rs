// SPDX-License-Identifier: MIT
//! Reports and derived keys, from the security processor by way of the host.

use super::ghcb::call;
use super::shared::SharedPage;
use super::{copied, is_guest};
use crate::machine::Payload;
use crate::machine::memory::direct;
use crate::sev::certificates::table_len;
use crate::sev::channel::{Carried, Carrier, Channel};
use crate::sev::ghcb::{Exit, Reply};
use crate::sev::question::Question;
use crate::sev::secrets::Secrets;
use crate::sev::{PAGE_LEN, Page};
use alloc::vec::Vec;
use spin::Mutex;
use strongroom_snp_layout::LaunchPage;
use strongroom_south::{
    DERIVED_KEY_LEN, KeyRequest, Report, ReportRequest, SecurityError, SecurityProcessor,
};

/// Pages for certificates: what Linux takes from a host at most.
const CERTIFICATE_PAGES: usize = 16;

static LINK: Mutex<Option<Link>> = Mutex::new(None);

/// The channel, and shared pages to send and receive by.
struct Link {
    channel: Channel,
    mail: Mail,
}

struct Mail {
    request: SharedPage,
    response: SharedPage,
    certificates: [SharedPage; CERTIFICATE_PAGES],
    /// The certificates that came last.
    table: Vec<u8>,
}

/// Takes the channel's key, of which no copy stays in the secrets page. Without a key there is no
/// security processor.
pub(crate) fn start(launch: &LaunchPage) -> Option<()> {
    if !is_guest() {
        return None;
    }
    let secrets = Secrets::parse(&copied(launch.secrets)?).ok()?;
    // SAFETY: `copied` made sure that the page is one of the launch image in front of the payload,
    // where nothing else lies, and it is the guest's to write.
    unsafe { direct::zero_page(launch.secrets) };
    let [request, response] = SharedPage::take()?;
    let mail = Mail { request, response, certificates: SharedPage::take()?, table: Vec::new() };
    let channel = Channel::new(0, &secrets.vmpck0, secrets.sequence);
    *LINK.lock() = Some(Link { channel, mail });
    Some(())
}

/// Whether there is a security processor.
pub(crate) fn is_there() -> bool {
    LINK.lock().is_some()
}

impl Mail {
    fn deliver(&mut self, certificates: bool) -> Carried {
        let (request, response) = (self.request.physical(), self.response.physical());
        let [first, ..] = self.certificates;
        let exit = if certificates {
            let pages = CERTIFICATE_PAGES as u64;
            Exit::ExtendedGuestRequest { request, response, certificates: first.physical(), pages }
        } else {
            Exit::GuestRequest { request, response }
        };
        match call(exit) {
            Ok(Reply::Done) => Carried::Answered,
            Ok(Reply::Busy) => Carried::Busy,
            // Too many for us: the report comes without them.
            Ok(Reply::TooFewPages(_)) if certificates => self.deliver(false),
            Ok(Reply::TooFewPages(_) | Reply::Value(_)) | Err(_) => Carried::Failed,
        }
    }

    /// Copies the table of certificates out, once; empty where it is none.
    fn collect(&mut self) {
        let mut area = Vec::new();
        if area.try_reserve_exact(CERTIFICATE_PAGES * PAGE_LEN).is_err() {
            return;
        }
        for page in self.certificates {
            let mut copy = [0; PAGE_LEN];
            page.copy(&mut copy);
            area.extend_from_slice(&copy);
        }
        area.truncate(table_len(&area).unwrap_or(0));
        self.table = area;
    }
}

impl Carrier for Mail {
    fn carry(&mut self, request: &Page, response: &mut Page, certificates: bool) -> Carried {
        self.request.fill(request);
        self.response.fill(&[0; PAGE_LEN]);
        self.table = Vec::new();
        if certificates {
            self.certificates.iter().for_each(|page| page.fill(&[0; PAGE_LEN]));
        }
        let carried = self.deliver(certificates);
        if carried == Carried::Answered {
            self.response.copy(response);
            if certificates {
                self.collect();
            }
        }
        carried
    }
}

/// Asks, and returns the answer with the certificates that came with it.
fn ask(question: Question) -> Result<(Vec<u8>, Vec<u8>), SecurityError> {
    let mut link = LINK.lock();
    let Link { channel, mail } = link.as_mut().ok_or(SecurityError::Broken)?;
    let answer = channel.ask(question, mail)?;
    Ok((answer, core::mem::take(&mut mail.table)))
}

impl SecurityProcessor for Payload {
    fn report(&self, request: &ReportRequest) -> Result<Report, SecurityError> {
        let (bytes, certificates) = ask(Question::Report(*request))?;
        Ok(Report { bytes, certificates })
    }

    fn derive_key(&self, request: &KeyRequest) -> Result<[u8; DERIVED_KEY_LEN], SecurityError> {
        let (answer, _) = ask(Question::Key(*request))?;
        answer.try_into().map_err(|_| SecurityError::Broken)
    }
}

// SPDX-License-Identifier: MIT
//! Inputs that are good, made by our own code.

#![allow(clippy::unwrap_used, reason = "a test without inputs is to fail")]

use strongroom_attestation_testing::application::{self, Application};
use strongroom_attestation_testing::authority::pem;
use strongroom_attestation_testing::machine::{Machine, policy_text};
use strongroom_client::package::format::{Index, Kind, Target};
use strongroom_evidence::Extension;
use strongroom_session::SecretKey;
use strongroom_session::client::Hello;
use strongroom_session::message::{NoEvidence, Refusal, ToClient, ToEnclave};
use strongroom_snp_igvm::{LaunchImage, Profile};
use strongroom_snp_layout::{LaunchPage, NOTE_NAME};
use strongroom_wire::boot::{Manifest, Record};

/// The inputs for a parser; none for a name that is none.
#[must_use]
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    match name {
        "report" => reports(),
        "certificate_table" => vec![certificate_table(2), certificate_table(0)],
        "certificates" => certificates(),
        "policy" => policies(),
        "package" => packages(),
        "boot" => vec![record(), LaunchPage::new(4096, 1, 1).encode().to_vec()],
        "igvm" => vec![igvm(&Profile::plain()), igvm(&Profile::plain().with_vcpus(3).unwrap())],
        "session" => sessions(),
        "token" => tokens(),
        "enrolment" => vec![Application::new().enrolment_text("device").into_bytes()],
        _ => Vec::new(),
    }
}

fn reports() -> Vec<Vec<u8>> {
    let machine = Machine::milan();
    let mut old = machine.report;
    old.extension = Extension::V2;
    [machine.report, old, Machine::turin().report, Machine::milan_vlek().report]
        .map(|report| machine.chip.sign(&report).to_vec())
        .to_vec()
}

fn policies() -> Vec<Vec<u8>> {
    let beginning = b"version = 1\n[snp]\nvmpls = [0]\n".to_vec();
    vec![policy_text().into_bytes(), application::policy_text().into_bytes(), beginning]
}

fn tokens() -> Vec<Vec<u8>> {
    let mut plain = Application::new();
    plain.memory = None;
    vec![Application::new().token(), plain.token()]
}

fn certificates() -> Vec<Vec<u8>> {
    let machine = Machine::milan();
    let chain = [&machine.report_key(), machine.issuer(), &machine.authority.root_certificate];
    let mut inputs: Vec<Vec<u8>> = chain.iter().map(|one| one.to_vec()).collect();
    let list = machine.revocation_list.unwrap();
    inputs.push(list.clone());
    let chain = chain.iter().copied().chain([list.as_slice()]);
    let text: String = chain.map(|one| pem("CERTIFICATE", one).unwrap()).collect();
    inputs.push(text.into_bytes());
    inputs
}

fn certificate_table(entries: u32) -> Vec<u8> {
    let guids =
        [0x63da_758d_e664_4564_adc5_f4b9_3be8_accd, 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782];
    let mut table = Vec::new();
    for (guid, index) in guids.iter().zip(0..entries) {
        table.extend(u128::to_be_bytes(*guid));
        let at =
            entries.saturating_add(1).saturating_mul(24).saturating_add(index.saturating_mul(8));
        table.extend(at.to_le_bytes());
        table.extend(8_u32.to_le_bytes());
    }
    table.extend([0; 24]);
    table.extend([0x30; 16]);
    table
}

fn packages() -> Vec<Vec<u8>> {
    let section = |kind| (kind, 5000, [7; 32]);
    let all = [Kind::Record, Kind::Kernel(Target::Snp), Kind::Expected, Kind::Image];
    [&all[..], &all[..1], &[]]
        .iter()
        .map(|kinds| {
            let index = Index::lay_out(kinds.iter().map(|kind| section(*kind)).collect()).unwrap();
            let blocks = u64::try_from(kinds.len()).unwrap().saturating_mul(2).saturating_add(1);
            let mut bytes = index.encode().to_vec();
            bytes.extend(blocks.saturating_mul(4096).to_le_bytes());
            bytes
        })
        .collect()
}

fn record() -> Vec<u8> {
    let manifest = Manifest {
        program: "/bin/tool".into(),
        arguments: vec!["tool".into(), "-v".into()],
        environment: vec!["LANG=C".into()],
        ..Manifest::default()
    };
    Record { root_digest: [1; 32], image_blocks: 9, manifest }.encode().unwrap()
}

/// What an owner sends, what an enclave answers, and the start of a handshake.
fn sessions() -> Vec<Vec<u8>> {
    let frame = |body: Vec<u8>| {
        let length = u16::try_from(body.len()).unwrap().to_le_bytes();
        [length.as_slice(), &body].concat()
    };
    let sent = |message: &ToEnclave<'_>| frame(postcard::to_allocvec(message).unwrap());
    let answered = |message: &ToClient<'_>| frame(postcard::to_allocvec(message).unwrap());
    let owner = [
        ToEnclave::Argument("--verbose"),
        ToEnclave::Variable { name: "REGION", value: "north" },
        ToEnclave::Secret { name: "key", length: 300 },
        ToEnclave::Piece(&[7; 200]),
        ToEnclave::Piece(&[8; 100]),
    ];
    let report = Machine::milan().report.encode();
    let enclave = [
        ToClient::SnpReport { report: &report, certificates: &[1; 40] },
        ToClient::Started,
        ToClient::Exited { status: 3 },
        ToClient::NoEvidence(NoEvidence::Refused(0x16)),
        ToClient::Refused(Refusal::MissingSecret("key".into())),
    ];
    let (_, hello) = Hello::new(&SecretKey::from_bytes([1; 32]), [2; 32], [3; 32]).unwrap();
    vec![owner.iter().flat_map(sent).collect(), enclave.iter().flat_map(answered).collect(), hello]
}

fn igvm(profile: &Profile) -> Vec<u8> {
    let image = LaunchImage::build(&payload(), &record(), profile).unwrap();
    image.to_igvm(0x3_0000, None).unwrap()
}

/// The smallest payload: one segment, and the note that names its entries.
fn payload() -> Vec<u8> {
    let address = 0x20_0000_u64;
    let mut note = Vec::new();
    [11, 16, 1_u32].iter().for_each(|word| note.extend(word.to_le_bytes()));
    note.extend(NOTE_NAME.bytes().chain([0, 0]));
    [address, address].iter().for_each(|word| note.extend(word.to_le_bytes()));
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    [address, 64, 0].iter().for_each(|word| file.extend(word.to_le_bytes()));
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    for (kind, offset, length) in [(1_u32, 176_u64, 16_u64), (4, 192, 40)] {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        let words = [offset, address, address, length, length, 4];
        words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    }
    file.extend([0x90; 16]);
    file.extend(note);
    file
}

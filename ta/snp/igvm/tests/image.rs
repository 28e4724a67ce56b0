// SPDX-License-Identifier: MIT
//! The image and its file, judged by the crate `igvm` from its own reading of the file.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected is to fail"
)]

use igvm::measurement::generate_snp_measurement;
use igvm::{IgvmDirectiveHeader, IgvmFile, IsolationType};
use p384::ecdsa::signature::Verifier as _;
use p384::ecdsa::{Signature, VerifyingKey};
use p384::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use strongroom_attestation_testing::vectors;
use strongroom_snp_igvm::{
    GuestFeatures, Identity, ImageError, LaunchImage, PageKind, Profile, key_digest, trampoline,
};
use strongroom_snp_layout::{LaunchPage, RECORD, RECORD_LEN_MAX};

const POLICY: u64 = 0x3_0000;
const ENTRY: u64 = 0x20_0100;

/// A payload in the shape of ours: one segment with data and zeros behind it, and the note.
fn payload(entry: u64, address: u64, data: &[u8], in_memory: u64) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [11, 16, 1_u32] {
        note.extend(word.to_le_bytes());
    }
    note.extend(*b"Strongroom\0\0");
    note.extend(entry.to_le_bytes());
    note.extend((entry + 8).to_le_bytes());
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    file.extend(entry.to_le_bytes());
    file.extend(64_u64.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 0, 0, 0, 0]);
    let data_at = 64 + 2 * 56;
    let note_at = data_at + data.len() as u64;
    for (kind, offset, length, memory) in [
        (1_u32, data_at, data.len() as u64, in_memory),
        (4, note_at, note.len() as u64, note.len() as u64),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(7_u32.to_le_bytes());
        for word in [offset, address, address, length, memory, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend(data);
    file.extend(note);
    file
}

fn good_payload() -> Vec<u8> {
    payload(ENTRY, 0x20_0000, &[0x90; 5000], 12_345)
}

fn image(profile: &Profile) -> LaunchImage {
    LaunchImage::build(&good_payload(), &[7; 8192], profile).unwrap()
}

fn read(file: &[u8]) -> IgvmFile {
    IgvmFile::new_from_binary(file, Some(IsolationType::Snp)).unwrap()
}

#[test]
fn the_file_is_measured_as_the_image_is() {
    let features = "restricted-injection,secure-tsc".parse().unwrap();
    for profile in [
        Profile::plain(),
        Profile::plain().with_vcpus(4).unwrap().with_features(features),
        Profile::plain().with_model("EPYC-Genoa").unwrap(),
    ] {
        let image = image(&profile);
        let file = read(&image.to_igvm(POLICY, None).unwrap());
        let theirs = generate_snp_measurement(file.initializations(), file.directives(), 1);
        assert_eq!(theirs.unwrap(), image.digest(), "{profile:?}");
    }
}

#[test]
fn everything_counts() {
    let plain = Profile::plain();
    let digest = image(&plain).digest();
    let mut others = vec![
        image(&plain.clone().with_vcpus(2).unwrap()).digest(),
        image(&plain.clone().with_features(GuestFeatures(8))).digest(),
        image(&plain.clone().with_model("EPYC-Milan").unwrap()).digest(),
        image(&plain.clone().with_model("EPYC-Genoa").unwrap()).digest(),
    ];
    let with = |payload: &[u8], record: &[u8]| {
        LaunchImage::build(payload, record, &plain).unwrap().digest()
    };
    let mut changed = good_payload();
    *changed.get_mut(64 + 2 * 56 + 4999).unwrap() ^= 1;
    others.push(with(&changed, &[7; 8192]));
    others.push(with(&payload(ENTRY + 1, 0x20_0000, &[0x90; 5000], 12_345), &[7; 8192]));
    others.push(with(&payload(ENTRY, 0x20_0000, &[0x90; 5000], 20_000), &[7; 8192]));
    others.push(with(&payload(ENTRY, 0x20_0008, &[0x90; 5000], 12_345), &[7; 8192]));
    let mut record = [7; 8192];
    *record.last_mut().unwrap() = 8;
    others.push(with(&good_payload(), &record));
    others.push(with(&good_payload(), &[7; 4096]));
    for (index, other) in others.iter().enumerate() {
        assert_ne!(*other, digest, "change {index} is not measured");
        assert_eq!(others.iter().filter(|one| *one == other).count(), 1, "change {index}");
    }
    assert_eq!(with(&good_payload(), &[7; 8192]), digest, "the same gives the same");
}

#[test]
fn pages_are_where_the_payload_looks_for_them() {
    let image = image(&Profile::plain().with_vcpus(2).unwrap());
    let page = |address| image.pages().iter().find(|page| page.address == address).unwrap();
    let PageKind::Measured(launch_page) = &page(0x10_0000).kind else { panic!("not measured") };
    let launch_page = LaunchPage::parse(launch_page).unwrap();
    assert_eq!((launch_page.record, launch_page.record_len), (RECORD, 8192));
    assert_eq!((launch_page.processors, launch_page.sev_features), (2, 1));
    assert_eq!(page(launch_page.memory_map).kind, PageKind::MemoryMap);
    assert_eq!(page(launch_page.cpuid).kind, PageKind::Cpuid);
    assert_eq!(page(launch_page.secrets).kind, PageKind::Secrets);
    let entries: Vec<u64> = image.save_areas().iter().map(|area| area.rip).collect();
    assert_eq!(entries, [ENTRY, ENTRY + 8], "the second processor parks");

    let mut addresses: Vec<u64> = image.pages().iter().map(|page| page.address).collect();
    let count = addresses.len();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), count, "no page is there twice");
}

#[test]
fn what_cannot_be_launched_is_refused() {
    let build = |payload: &[u8], record: &[u8]| {
        LaunchImage::build(payload, record, &Profile::plain()).map(|_| ())
    };
    let record = [0; 4096];
    let payload_refused = |payload: Vec<u8>| {
        let refused = build(&payload, &record);
        assert!(matches!(refused, Err(ImageError::Payload(_))), "{refused:?}");
    };
    payload_refused(b"no ELF".to_vec());
    payload_refused(payload(ENTRY, 0x1f_f000, &[1; 10], 10));
    payload_refused(payload(0x10_0000, 0x20_0000, &[1; 10], 10));
    payload_refused(payload(ENTRY, 0x20_0000, &[1; 1000], 10));
    payload_refused(payload(ENTRY, 0x20_0000, &[1; 1000], u64::MAX));
    payload_refused(payload(ENTRY, u64::MAX - 5, &[1; 1000], 1000));
    let mut other_machine = good_payload();
    *other_machine.get_mut(18).unwrap() = 183;
    payload_refused(other_machine);
    let mut cut = good_payload();
    cut.truncate(1000);
    payload_refused(cut);
    for length in [0, 100, RECORD_LEN_MAX as usize + 4096] {
        let refused = build(&good_payload(), &vec![0; length]);
        assert!(matches!(refused, Err(ImageError::Record(_))), "{length}");
    }
}

fn new_key() -> (p384::SecretKey, String) {
    let secret = p384::SecretKey::from_slice(&[5; 48]).unwrap();
    let pem = secret.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
    (secret, pem)
}

#[test]
fn the_identity_block_is_signed_as_the_firmware_verifies_it() {
    let (secret, pem) = new_key();
    let public = VerifyingKey::from(secret.public_key());
    let image = image(&Profile::plain());
    let identity = Identity::new([1; 16], [2; 16], 3, &pem, Some(&pem)).unwrap();
    let file = read(&image.to_igvm(POLICY, Some(&identity)).unwrap());
    let block = file.directives().iter().find_map(|directive| match directive {
        IgvmDirectiveHeader::SnpIdBlock {
            ld,
            id_key_signature,
            id_public_key,
            author_key_signature,
            author_key_enabled,
            ..
        } => Some((ld, id_key_signature, id_public_key, author_key_signature, author_key_enabled)),
        _ => None,
    });
    let (ld, id_signature, id_key, author_signature, author) = block.unwrap();
    assert_eq!((*ld, *author), (image.digest(), 1));

    // The 96 bytes of ID_BLOCK: digest, family, image, version, security version, policy.
    let mut signed = ld.to_vec();
    signed.extend([1; 16]);
    signed.extend([2; 16]);
    signed.extend([1, 0, 0, 0, 3, 0, 0, 0]);
    signed.extend(POLICY.to_le_bytes());
    public.verify(&signed, &signature(&id_signature.r_comp, &id_signature.s_comp)).unwrap();
    *signed.last_mut().unwrap() ^= 1;
    let other_policy = signature(&id_signature.r_comp, &id_signature.s_comp);
    assert!(public.verify(&signed, &other_policy).is_err());

    // The 1028 bytes of a public key: curve, x, y, reserved.
    let mut key = id_key.curve.to_le_bytes().to_vec();
    key.extend(id_key.qx);
    key.extend(id_key.qy);
    key.resize(0x404, 0);
    let author = signature(&author_signature.r_comp, &author_signature.s_comp);
    public.verify(&key, &author).unwrap();

    assert!(Identity::new([1; 16], [2; 16], 3, "no key", None).is_err());
}

fn signature(r: &[u8; 72], s: &[u8; 72]) -> Signature {
    let number = |bytes: &[u8; 72]| -> [u8; 48] {
        let mut number: Vec<u8> = bytes[..48].to_vec();
        number.reverse();
        number.try_into().unwrap()
    };
    Signature::from_scalars(number(r), number(s)).unwrap()
}

/// Digests that the crate `sev` computed with OpenSSL for the keys of its own tests.
#[test]
fn key_digests_are_those_of_sev() {
    let Some(tests) = vectors::sev_tests() else {
        println!("key digests: skipped, the sources of the crate sev are not here");
        return;
    };
    for (name, expected) in [
        ("test_id_key.pem", "WfssaG36T+9J84M5qndckAUcKNVzg93DuvO160sUlt87DbvcuuX+J2d6ZEggdz/i"),
        ("test_auth_key.pem", "7tgRafsMteDsNHlPEo/U4MSkb2fGWhrfqB/LJLzAiMJyNpt//D6ytq9qQoShs2xf"),
    ] {
        let pem = std::fs::read_to_string(tests.join("measurement").join(name)).unwrap();
        let secret = p384::SecretKey::from_pkcs8_pem(&pem).unwrap();
        let digest = key_digest(&VerifyingKey::from(secret.public_key()));
        assert_eq!(base64(&digest), expected, "{name}");
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let number = three.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[number >> shift & 63]))
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// Found by fuzzing: the crate that reads such files panics at contexts of another platform.
#[test]
fn a_file_for_another_platform_is_refused_before_it_is_read() {
    let mut file = image(&Profile::plain()).to_igvm(POLICY, None).unwrap();
    // Behind the fixed header and its own head, the sixth byte of the first header.
    let platform = &mut file[24 + 8 + 5];
    assert_eq!(*platform, 2);
    *platform = 1;
    let refused = LaunchImage::from_igvm(&file).unwrap_err().to_string();
    assert!(refused.contains("another platform"), "{refused}");
}

#[test]
fn the_trampoline_holds_the_files_pages() {
    let image = image(&Profile::plain());
    let read = LaunchImage::from_igvm(&image.to_igvm(POLICY, None).unwrap()).unwrap();
    assert_eq!((read.pages(), read.digest()), (image.pages(), image.digest()));
    let (memory, secrets, cpuid) = (vec![0..0x9_f000, 0x10_0000..1 << 29], [5; 4096], [6; 4096]);
    let filling = trampoline::Filling { memory: &memory, secrets: &secrets, cpuid: &cpuid };
    let elf = trampoline::elf(&read, &filling).unwrap();
    let headers = goblin::elf::Elf::parse(&elf).unwrap().program_headers;
    for page in image.pages() {
        let expected = match &page.kind {
            PageKind::Measured(expected) => expected.as_slice(),
            PageKind::Secrets => &secrets,
            PageKind::Cpuid => &cpuid,
            PageKind::MemoryMap => continue,
        };
        let segment = headers.iter().find(|header| {
            (header.p_paddr..header.p_paddr + header.p_filesz).contains(&page.address)
        });
        let segment = segment.unwrap();
        let at = (segment.p_offset + page.address - segment.p_paddr) as usize;
        assert_eq!(elf.get(at..at + 4096).unwrap(), expected, "{:#x}", page.address);
    }
    let memory = vec![0..4096; 171];
    assert!(trampoline::elf(&read, &trampoline::Filling { memory: &memory, ..filling }).is_err());
    assert!(LaunchImage::is_igvm(&image.to_igvm(POLICY, None).unwrap()));
    assert!(LaunchImage::from_igvm(b"no IGVM file").is_err());
}

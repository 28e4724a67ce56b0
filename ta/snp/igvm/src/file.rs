// SPDX-License-Identifier: MIT
//! The image as an IGVM file.

use crate::digest::SAVE_AREA_ADDRESS;
use crate::identity::{ALGORITHM, VERSION};
use crate::{Identity, ImageError, LaunchImage, Page, PageKind};
use igvm::{
    IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
    IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use strongroom_snp_layout::MEMORY_MAP_LEN;
use zerocopy::FromZeros as _;

/// The one platform in our files.
pub(crate) const COMPATIBILITY: u32 = 1;
/// The one area that the host fills in.
const MEMORY_MAP_AREA: u32 = 0;

impl LaunchImage {
    /// The image as an IGVM file, for a launch under a guest policy (`SNP_LAUNCH_START`, `POLICY`).
    ///
    /// Every page has its bytes in the file, zeros too: launchers disagree on how a page without
    /// bytes is measured.
    ///
    /// # Errors
    /// [`ImageError::Igvm`] when the file's own rules are broken.
    pub fn to_igvm(&self, policy: u64, identity: Option<&Identity>) -> Result<Vec<u8>, ImageError> {
        let platform = IGVM_VHS_SUPPORTED_PLATFORM {
            compatibility_mask: COMPATIBILITY,
            highest_vtl: 0,
            platform_type: IgvmPlatformType::SEV_SNP,
            platform_version: 1,
            shared_gpa_boundary: 0,
        };
        let start =
            IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask: COMPATIBILITY };
        let mut directives = vec![IgvmDirectiveHeader::ParameterArea {
            number_of_bytes: MEMORY_MAP_LEN,
            parameter_area_index: MEMORY_MAP_AREA,
            initial_data: Vec::new(),
        }];
        directives.push(IgvmDirectiveHeader::MemoryMap(IGVM_VHS_PARAMETER {
            parameter_area_index: MEMORY_MAP_AREA,
            byte_offset: 0,
        }));
        directives.extend(self.pages().iter().map(page));
        directives.extend(self.save_areas().iter().zip(0_u16..).map(|(area, vp_index)| {
            IgvmDirectiveHeader::SnpVpContext {
                gpa: SAVE_AREA_ADDRESS,
                compatibility_mask: COMPATIBILITY,
                vp_index,
                vmsa: area.clone(),
            }
        }));
        directives.extend(identity.map(|identity| self.id_block(identity, policy)));
        let file = IgvmFile::new(
            IgvmRevision::V1,
            vec![IgvmPlatformHeader::SupportedPlatform(platform)],
            vec![start],
            directives,
        );
        let mut bytes = Vec::new();
        file.and_then(|file| file.serialize(&mut bytes))
            .map_err(|error| ImageError::Igvm(error.to_string()))?;
        Ok(bytes)
    }

    fn id_block(&self, identity: &Identity, policy: u64) -> IgvmDirectiveHeader {
        let ld = self.digest();
        let signed = identity.sign(&ld, policy);
        let author_key_enabled = u8::from(signed.author.is_some());
        let (author_key_signature, author_public_key) = signed.author.unwrap_or((
            IGVM_VHS_SNP_ID_BLOCK_SIGNATURE::new_zeroed(),
            IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY::new_zeroed(),
        ));
        IgvmDirectiveHeader::SnpIdBlock {
            compatibility_mask: COMPATIBILITY,
            author_key_enabled,
            reserved: [0; 3],
            ld,
            family_id: identity.family_id,
            image_id: identity.image_id,
            version: VERSION,
            guest_svn: identity.guest_svn,
            id_key_algorithm: ALGORITHM,
            author_key_algorithm: if author_key_enabled == 0 { 0 } else { ALGORITHM },
            id_key_signature: Box::new(signed.id_key_signature),
            id_public_key: Box::new(signed.id_public_key),
            author_key_signature: Box::new(author_key_signature),
            author_public_key: Box::new(author_public_key),
        }
    }
}

fn page(Page { address, kind }: &Page) -> IgvmDirectiveHeader {
    let gpa = *address;
    let data_page = |data_type, data| IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask: COMPATIBILITY,
        flags: IgvmPageDataFlags::new(),
        data_type,
        data,
    };
    match kind {
        PageKind::Measured(contents) => data_page(IgvmPageDataType::NORMAL, contents.to_vec()),
        PageKind::Secrets => data_page(IgvmPageDataType::SECRETS, Vec::new()),
        PageKind::Cpuid => data_page(IgvmPageDataType::CPUID_DATA, Vec::new()),
        PageKind::MemoryMap => IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
            gpa,
            compatibility_mask: COMPATIBILITY,
            parameter_area_index: MEMORY_MAP_AREA,
        }),
    }
}

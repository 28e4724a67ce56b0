// SPDX-License-Identifier: MIT
//! An image from its IGVM file.

use crate::check::check;
use crate::file::COMPATIBILITY;
use crate::{ImageError, LaunchImage, Page, PageKind};
use igvm::{IgvmDirectiveHeader, IgvmFile, IsolationType};
use igvm_defs::IgvmPageDataType;
use std::collections::BTreeSet;
use strongroom_snp_layout::PAGE_LEN;

/// How IGVM files begin.
const MAGIC: &[u8] = b"IGVM";

impl LaunchImage {
    /// Whether bytes begin as IGVM files do.
    #[must_use]
    pub fn is_igvm(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads a file that [`LaunchImage::to_igvm`] wrote. An identity block is left out.
    ///
    /// # Errors
    /// [`ImageError::Igvm`] for a file that is no image for SNP of this crate's making.
    pub fn from_igvm(file: &[u8]) -> Result<Self, ImageError> {
        let wrong = |reason: &str| ImageError::Igvm(reason.to_owned());
        check(file).map_err(wrong)?;
        let file = IgvmFile::new_from_binary(file, Some(IsolationType::Snp))
            .map_err(|error| ImageError::Igvm(error.to_string()))?;
        let (mut pages, mut save_areas) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for directive in file.directives() {
            if directive.compatibility_mask().is_some_and(|mask| mask & COMPATIBILITY == 0) {
                continue;
            }
            if let IgvmDirectiveHeader::SnpVpContext { vmsa, .. } = directive {
                save_areas.push(vmsa.clone());
            } else if let Some(page) = page(directive)? {
                if !seen.insert(page.address) {
                    return Err(wrong("a page is there twice"));
                }
                pages.push(page);
            }
        }
        if save_areas.is_empty() {
            return Err(wrong("it has no first processor"));
        }
        Ok(Self { pages, save_areas })
    }
}

fn page(directive: &IgvmDirectiveHeader) -> Result<Option<Page>, ImageError> {
    if let IgvmDirectiveHeader::ParameterInsert(insert) = directive {
        return Ok(Some(Page { address: insert.gpa, kind: PageKind::MemoryMap }));
    }
    let IgvmDirectiveHeader::PageData { gpa, data_type, data, .. } = directive else {
        return Ok(None);
    };
    let kind = match *data_type {
        IgvmPageDataType::NORMAL => {
            let mut contents = data.clone();
            contents.resize(PAGE_LEN, 0);
            let contents = contents.into_boxed_slice().try_into();
            PageKind::Measured(
                contents.map_err(|_| ImageError::Igvm("a page is too long".to_owned()))?,
            )
        }
        IgvmPageDataType::SECRETS => PageKind::Secrets,
        IgvmPageDataType::CPUID_DATA => PageKind::Cpuid,
        _ => return Err(ImageError::Igvm("a page is of a kind that is not ours".to_owned())),
    };
    Ok(Some(Page { address: *gpa, kind }))
}

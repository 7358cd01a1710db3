//! A program or library in sampled memory: what unwinding needs of it, and the names of its functions.
//!
//! Files and their symbols are those of [`crate::symbols`]: symbol tables, separate debug files, packed symbols.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use framehop::ExplicitModuleSectionInfo;

use crate::symbols::{Binary, Functions};

/// Bytes of a program; they stay for the life of rtrec.
pub type Piece = &'static [u8];

/// How far from the beginning of a segment a mapping of it may begin: the largest page.
const PAGE: u64 = 0x1_0000;

/// A program or library.
#[derive(Debug)]
pub struct Image {
    binary: Binary,
}

impl Image {
    /// Opens the file; the kernel's page of code is that of this process, which is the same in all.
    pub fn open(path: &str) -> Option<Image> {
        let binary = match path {
            "[vdso]" => Binary::of(Path::new(path), Box::leak(vdso()?.into_boxed_slice())).ok()?,
            path => Binary::open(Path::new(path)).ok()?,
        };
        Some(Image { binary })
    }

    /// What is to be added to the file's addresses when the byte at `offset` is at `start`.
    pub fn bias(&self, offset: u64, start: u64) -> Option<u64> {
        // The kernel maps whole pages, so a mapping may begin before its segment.
        let holds = |(at, size, _): &(u64, u64, u64)| offset < at + size && offset + PAGE > *at;
        let segments = self.binary.segments().iter().map(|one| (one.offset, one.file_size, one.address));
        let (at, _, address) = segments.filter(holds).min_by_key(|(at, ..)| at.abs_diff(offset))?;
        Some(start.wrapping_sub(address.wrapping_add(offset.wrapping_sub(at))))
    }

    /// What the unwinder is given.
    pub fn sections(&self) -> ExplicitModuleSectionInfo<Piece> {
        let range = |name: &str| -> Option<Range<u64>> {
            let (address, size) = self.binary.section_place(name)?;
            Some(address..address.checked_add(size)?)
        };
        let piece = |name: &str| self.binary.section(name);
        ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: piece(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: piece(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: piece(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        }
    }

    /// What identifies this build, in hexadecimal; nothing if it does not say.
    pub fn build_id(&self) -> String {
        self.binary.build_id().unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The function that holds an address of the file.
    pub fn name(&self, address: u64) -> Option<String> {
        self.binary.functions().at(address).map(Functions::display_name)
    }
}

/// The kernel's page of code in this process.
fn vdso() -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let mut bytes = vec![0; usize::try_from(end.checked_sub(start)?).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn landmark() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn this_programs_functions_have_names() {
        let path = std::env::current_exe().unwrap();
        let image = Image::open(path.to_str().unwrap()).unwrap();
        let address = landmark as *const () as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let maps = crate::rt::sampling::address_spaces::parse_maps(&maps);
        let map = maps.iter().find(|map| (map.start..map.end).contains(&address)).unwrap();
        let bias = image.bias(map.offset, map.start).unwrap();
        assert!(image.name(address - bias).unwrap().ends_with("landmark"));
        assert!(image.sections().eh_frame.is_some_and(|piece| !piece.is_empty()));
        assert_eq!(image.name(0), None);
        assert_eq!(landmark(), 7);
    }

    #[test]
    fn the_page_of_code_of_the_kernel_is_a_library() {
        let vdso = Image::open("[vdso]").unwrap();
        let names: Vec<&str> = vdso.binary.functions().all().iter().map(|function| function.name).collect();
        assert!(names.iter().any(|name| name.contains("clock_gettime")), "{names:?}");
        assert!(Image::open("/no/such/file").is_none() && Image::open("/etc/passwd").is_none());
    }
}

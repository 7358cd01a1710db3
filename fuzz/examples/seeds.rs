//! Writes the first corpus of every target: `seeds FIXTURES CORPUS`.

use std::path::PathBuf;
use std::{env, fs};

use rtrec_fuzz::{TARGETS, seeds};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = env::args_os().skip(1).map(PathBuf::from);
    let (Some(fixtures), Some(corpus)) = (words.next(), words.next()) else {
        return Err("usage: seeds FIXTURES CORPUS".into());
    };
    for (target, _) in TARGETS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let seeds = seeds::of(target, &fixtures);
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}

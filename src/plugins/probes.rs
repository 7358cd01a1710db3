//! User probes, when user addresses are to have names: the function in front of the event's own text.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;

use crate::decode::field::Int;
use crate::decode::{Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "probes",
    about: "With --user-symbols: names the function that a user probe is in, and the one it returns to.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    context.trace.user.as_ref()?;
    let int = |name: &str| Int::find(format, name, context.trace.abi);
    // A return probe has the function and where it returns to.
    let places = match (int("__probe_func"), int("__probe_ret_ip")) {
        (Some(function), Some(back)) => vec![function, back],
        _ => vec![int("__probe_ip")?],
    };
    Some(Box::new(UserProbe { pid: int("common_pid")?, places }))
}

struct UserProbe {
    pid: Int,
    places: Vec<Int>,
}

impl Plugin for UserProbe {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let pid = self.pid.get(record.data) as i32;
        for (at, place) in self.places.iter().enumerate() {
            let name = scene.trace.user.as_ref().and_then(|user| user.text(pid, place.get(record.data)));
            if let Some(name) = name {
                out.extend_from_slice(if at == 0 { b"" } else { b"<- " });
                out.extend_from_slice(name.as_bytes());
                out.push(b' ');
            }
        }
        Then::Generic
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::bytes;
    use crate::plugins::testing::Look;
    use crate::symbols::names::UserNames;

    const COMMON: &str = "format:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
        \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";

    /// Formats as a kernel makes them for `p:u/in PATH:0x10 x=%di` and `r:u/out PATH:0x10`.
    fn look() -> Look {
        let entry = "\tfield:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:u64 x;\toffset:16;\tsize:8;\tsigned:0;\n\n\
            print fmt: \"(%lx) x=0x%Lx\", REC->__probe_ip, REC->x\n";
        let back = "\tfield:unsigned long __probe_func;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:unsigned long __probe_ret_ip;\toffset:16;\tsize:8;\tsigned:0;\n\n\
            print fmt: \"(%lx <- %lx)\", REC->__probe_ret_ip, REC->__probe_func\n";
        let look = Look::of("6.12", &[]).format("u", &format!("name: in\nID: 1600\n{COMMON}{entry}"));
        look.format("u", &format!("name: out\nID: 1601\n{COMMON}{back}"))
    }

    /// Names of the addresses of this program, as a file has them for task 77.
    fn users() -> UserNames {
        let path = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let of_program = maps.lines().filter(|line| line.ends_with(&*path.to_string_lossy()));
        let range = |line: &str| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        };
        let ranges: Vec<(u64, u64)> = of_program.filter_map(range).collect();
        let lines: String =
            ranges.iter().map(|(start, end)| format!("{start:x} {end:x} {}\n", path.display())).collect();
        UserNames::new([format!("4d {:x} x\n{lines}", ranges.len()).as_str()].into_iter(), "")
    }

    fn here() -> i64 {
        here as fn() -> i64 as usize as i64
    }

    #[test]
    fn without_names_of_programs_a_probe_is_shown_by_its_print_fmt() {
        let record = look().record("u:in", &[("__probe_ip", 0x401136), ("x", 5)]);
        assert_eq!(look().text(record), "(401136) x=0x5");
    }

    #[test]
    fn the_function_stands_before_the_text_of_the_probe() {
        let record = look().record("u:in", &[("__probe_ip", here()), ("x", 5)]);
        let text = look().users(users()).text(record);
        assert!(text.contains("probes::tests::here"), "{text}");
        assert!(text.ends_with(&format!(" ({:x}) x=0x5", here())), "{text}");
    }

    #[test]
    fn a_return_shows_the_function_and_where_it_returns_to() {
        let record = look().record("u:out", &[("__probe_func", here()), ("__probe_ret_ip", here())]);
        let text = look().users(users()).text(record);
        assert_eq!(text.matches("probes::tests::here").count(), 2, "{text}");
        assert!(text.contains(" <- "), "{text}");
    }

    #[test]
    fn an_address_without_a_name_adds_nothing() {
        let record = look().record("u:in", &[("__probe_ip", 0x10), ("x", 5)]);
        assert_eq!(look().users(users()).text(record), "(10) x=0x5");
    }

    #[test]
    fn a_kernel_probe_is_shown_by_its_print_fmt() {
        // A record of 6.12.95 and what trace-cmd printed of it: tests/fixtures/v7-fgraph-probes.
        let own = "\tfield:unsigned long __probe_ip;\toffset:8;\tsize:8;\tsigned:0;\n\
            \tfield:s32 dfd;\toffset:16;\tsize:4;\tsigned:1;\n\
            \tfield:__data_loc char[] file;\toffset:20;\tsize:4;\tsigned:1;\n\
            \tfield:u64 flags;\toffset:24;\tsize:8;\tsigned:0;\n\n\
            print fmt: \"(%lx) dfd=%d file=\\\"%s\\\" flags=0x%Lx\", REC->__probe_ip, REC->dfd, __get_str(file), REC->flags\n";
        let look = Look::of("6.12", &[]).format("kp", &format!("name: open\nID: 1554\n{COMMON}{own}"));
        let record = "12060001d0000000a0c2a381ffffffff9cffffff20000d0000800000000000002f70726f632f757074696d6500000000";
        let text = "(ffffffff81a3c2a0) dfd=-100 file=\"/proc/uptime\" flags=0x8000";
        assert_eq!(look.text(bytes(record)), text);
    }
}

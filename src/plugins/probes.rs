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

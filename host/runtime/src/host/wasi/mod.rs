//! `wasi:*`, for guests whose language cannot do without: linked with the grant `wasi` only, and it holds nothing. No
//! folder, environment, argument, input or network; what is printed becomes lines of the log. Without the grant `clock`
//! both clocks stand at the call's `now`; without `random` the same call sees the same bytes. A sleep is awaited, so that it
//! holds no thread and the deadline ends it.

mod clocks;
mod output;
mod random;
mod sockets;

use crate::lines::Printed;
use crate::state::State;
use shiphold_storage::{Caller, Grants};
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::{random as wit_random, sockets as wit_sockets};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Packages that are linked; none of them leads out of the sandbox.
const PACKAGES: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// Is there something behind this import, for a plugin with the grant?
pub(crate) fn has(import: &str) -> bool {
    PACKAGES.iter().any(|p| import.starts_with(p))
}

/// What the `wasi:*` functions of one call keep.
pub(crate) struct Wasi {
    ctx: WasiCtx,
    random: random::Source,
}

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    type Own = HasSelf<State>;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Where the crate does more than we want, ours stand before it.
    linker.allow_shadowing(true);
    wit_random::random::add_to_linker::<_, Own>(linker, |s| s)?;
    wit_random::insecure::add_to_linker::<_, Own>(linker, |s| s)?;
    wit_random::insecure_seed::add_to_linker::<_, Own>(linker, |s| s)?;
    wit_sockets::tcp_create_socket::add_to_linker::<_, Own>(linker, |s| s)?;
    wit_sockets::udp_create_socket::add_to_linker::<_, Own>(linker, |s| s)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl State {
    fn grants(&self) -> Option<&Grants> {
        match &self.caller {
            Caller::Plugin { grants, .. } => Some(grants),
            _ => None,
        }
    }

    /// Made when the guest first asks: a call without `wasi:*` does not pay for it.
    fn wasi(&mut self) -> &mut Wasi {
        let made = self.wasi.take().unwrap_or_else(|| Box::new(self.make_wasi()));
        self.wasi.insert(made)
    }

    fn make_wasi(&self) -> Wasi {
        let (clock, random) = self.grants().map_or((false, false), |g| (g.clock, g.random));
        let mut builder = WasiCtx::builder();
        builder.stdout(output::Output::new(self.lines.clone(), Printed::Stdout));
        builder.stderr(output::Output::new(self.lines.clone(), Printed::Stderr));
        builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        if !clock {
            builder
                .wall_clock(clocks::Standing::at(self.now))
                .monotonic_clock(clocks::Standing::at(self.now));
        }
        let random = match random {
            true => random::Source::System,
            false => random::Source::seeded(&self.plugin, &self.config, self.now),
        };
        Wasi { ctx: builder.build(), random }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let made = self.wasi.take().unwrap_or_else(|| Box::new(self.make_wasi()));
        WasiCtxView { ctx: &mut self.wasi.insert(made).ctx, table: &mut self.table }
    }
}

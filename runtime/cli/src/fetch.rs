//! `runtime fetch`: downloads data sets.

use std::cell::RefCell;

use anyhow::Context as _;
use clap::Args;

use super::App;
use super::interrupt::listen;
use super::output::{Failure, complain, print, table};
use base::stop::Stop;
use fetch::Progress;
use fetch::{Download, Fetcher, Shown, address, without_credentials};
use flow::environment::{MIRROR_VARIABLE, downloads};

const EXAMPLES: &str = "\
Examples:
  runtime fetch                                  what there is, and whether it is here
  runtime fetch cifar10
  runtime fetch svhn --all                       also extra_32x32.mat, 1.3 GB
  runtime fetch cifar100 --mirror http://my.server/data

Data is kept where the platform keeps caches, or in the folder that the environment variable
GRADFLOW_CACHE names, and serves all runs. A download that was stopped goes on at the next start.
`runtime run` downloads by itself what it needs; with GRADFLOW_OFFLINE=1 it does not.";

/// Downloads data sets into a cache that all runs share, and checks them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The data sets; without any, all are listed.
    #[arg(value_name = "DATA")]
    names: Vec<String>,

    /// Also files that are large and not needed by default.
    #[arg(long)]
    all: bool,

    /// An address to download from in place of each data set's own; names of files are appended.
    #[arg(long, value_name = "URL", env = MIRROR_VARIABLE, hide_env_values = true)]
    mirror: Option<String>,
}

/// The address that was given, where a variable that is set to nothing is not set. It is checked here,
/// as the parser of the command line would show a password that is in it.
fn mirror(given: Option<&str>) -> Result<Option<&str>, Failure> {
    let given = given.filter(|url| !url.is_empty());
    if let Some(url) = given
        && let Err(why) = address(url)
    {
        let shown = without_credentials(url);
        let message = format!("--mirror or {MIRROR_VARIABLE} is no address of a server: {shown}");
        return Err(Failure::Usage { message, help: Some(why) });
    }
    Ok(given)
}

pub(super) fn fetch(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let known: Vec<&Download> =
        app.kinds.iter().flat_map(|kind| &kind.downloads).copied().collect();
    let mut settings = downloads(mirror(arguments.mirror.as_deref())?);
    // Whoever asks for a download wants it.
    settings.offline = false;
    if arguments.names.is_empty() {
        let row = |download: &&Download| {
            let place = settings.cached(download, &[]);
            let place = place.map(|place| place.display().to_string());
            let place = place.or_else(|| settings.incomplete(download, &[]));
            let place = place.unwrap_or_else(|| "not here".to_owned());
            [download.name, download.title, &place].map(str::to_owned).to_vec()
        };
        return print(&table(&known.iter().map(row).collect::<Vec<_>>()));
    }
    let find = |name: &String| {
        known.iter().find(|download| download.name == name).copied().ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|download| download.name).collect();
            Failure::Usage {
                message: format!("there is no data set `{name}` to download"),
                help: Some(format!("known are {}", names.join(", "))),
            }
        })
    };
    let wanted = arguments.names.iter().map(find).collect::<Result<Vec<&Download>, _>>()?;
    let stop = Stop::default();
    listen(&stop).map_err(Failure::Run)?;
    let shown = RefCell::new(Shown::default());
    let progress = |progress: Progress| {
        shown.borrow_mut().show(&progress, |line| complain(&format!("{line}\n")));
    };
    let fetcher = Fetcher { settings: &settings, stop: &stop, progress: &progress };
    for download in wanted {
        let files: Vec<&str> = match arguments.all {
            true => download.files.iter().map(|file| file.name).collect(),
            false => Vec::new(),
        };
        let fetched = fetcher.fetch_checked(download, &files);
        shown.borrow_mut().finish();
        let folder = fetched.with_context(|| format!("{} could not be had", download.title));
        print(&format!("{}\n", folder.map_err(Failure::of_run)?.display()))?;
    }
    Ok(())
}

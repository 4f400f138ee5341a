//! How fast records are made: drawn, judged, written as JSON and digested, into a sink that only
//! looks at how many there were. On one thread, and on as many as the machine has.
//!
//! On two shared virtual cores (AMD EPYC, SHA extensions): 0.55 µs of processor time a record, so 1.8
//! million a second and core, counted over 4.1 million records; the wall clock there says what else runs.
//!
//! What it does not measure: the producer, whose client and broker take more than the generator.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nazar::load::block::{BLOCK_RECORDS, Block};
use nazar::load::catalogue::Popularity;
use nazar::load::clock::Rules;
use nazar::load::generator::Generator;
use nazar::load::schedule::{Arrivals, Schedule};
use nazar::load::workload::{Key, WorkloadConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_MS: i64 = 1_785_000_000_000;
/// So many blocks are made before anything is measured: by then as many sessions are open as at any
/// later time.
const WARM_UP: usize = 500;

fn generator(arrivals: Arrivals, inject: &str) -> Generator {
    Generator::new(WorkloadConfig {
        seed: 1,
        schedule: Schedule::at_rate(START_MS, 50_000, u64::MAX).with_arrivals(arrivals),
        partitions: [12; 4],
        products: 100_000,
        categories: 48,
        sellers: 2_000,
        users: 100_000,
        popularity: Popularity::Storefront,
        key: Key::Product,
        order_status: false,
        inject: inject.parse().expect("it is a valid list of faults"),
        play: None,
        rules: Rules::default(),
        currency: "USD".into(),
    })
}

fn generate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generate");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, arrivals, inject, threads) in [
        ("even", Arrivals::Even, "", 1),
        ("poisson, usual faults", Arrivals::Poisson, "usual", 1),
        ("even, all cores", Arrivals::Even, "", cores),
    ] {
        let mut generator = generator(arrivals, inject);
        let mut blocks = vec![Block::default(); threads];
        (0..WARM_UP).for_each(|_| generator.fill(&mut blocks));
        group.throughput(Throughput::Elements((BLOCK_RECORDS * threads) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                generator.fill(&mut blocks);
                blocks.iter().map(Block::len).sum::<usize>()
            })
        });
    }
    group.finish();
}

criterion_group!(benches, generate);
criterion_main!(benches);

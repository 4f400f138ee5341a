//! The manifest's script and the blobs beside it: what each answers, and who may remove.

use nazar::pipeline::checkpoint::BlobName;
use nazar::sinks::redis::checkpoint::{ManifestStore, Placed, RedisBlobs};

use crate::fixture::config;
use crate::server::Server;

fn blob(name: &str) -> (BlobName, Vec<u8>) {
    (name.into(), name.as_bytes().to_vec())
}

#[tokio::test]
async fn a_manifest_stands_if_its_writer_leads_it_continues_and_its_blobs_are_there() {
    let server = Server::start();
    server.ask::<u64>("HSET {nazar}:meta leader us");
    let settings = config(&server);
    let mut blobs = RedisBlobs::new(&settings, "us").unwrap();
    let mut manifests = ManifestStore::new(&settings, "us").unwrap();
    assert_eq!(manifests.read().await.unwrap(), None);
    let (first, second) = (BlobName::from("us-1-n0"), BlobName::from("us-1-p1"));
    blobs.put(vec![blob(&first), blob(&second)].as_slice()).await.unwrap();
    let both = [&first, &second];
    let placed = manifests.place(b"one", "hash", "cluster", &both).await.unwrap();
    assert_eq!(placed, Placed::Stands);
    let stands = ManifestStore::new(&settings, "them").unwrap().read().await.unwrap().unwrap();
    assert_eq!((&*stands.token, stands.seq, &*stands.body), ("us", 1, &b"one"[..]));
    assert_eq!((&*stands.config_hash, &*stands.cluster_id), ("hash", "cluster"));

    server.ask::<u64>("DEL {nazar}:pane:us-1-p1");
    let placed = manifests.place(b"two", "hash", "", &both).await.unwrap();
    assert!(matches!(placed, Placed::Lost(_)), "a blob is missing: {placed:?}");
    assert_eq!(manifests.place(b"two", "hash", "", &[&first]).await.unwrap(), Placed::Stands);

    // Redis fell back to the first one, unseen.
    server.ask::<u64>("HSET {nazar}:manifest seq 1");
    let placed = manifests.place(b"three", "hash", "", &[]).await.unwrap();
    assert!(matches!(placed, Placed::Lost(_)), "it does not continue: {placed:?}");
    assert_eq!(manifests.place(b"three", "hash", "", &[]).await.unwrap(), Placed::Stands);

    server.ask::<u64>("HSET {nazar}:meta leader them");
    let placed = manifests.place(b"four", "hash", "", &[]).await.unwrap();
    assert_eq!(placed, Placed::Fenced("them".into()));
    assert_eq!(server.ask::<String>("HGET {nazar}:manifest body"), "three");
    assert!(!manifests.leads().await.unwrap());
}

#[tokio::test]
async fn only_the_writer_of_the_prefix_removes_blobs() {
    let server = Server::start();
    server.ask::<u64>("HSET {nazar}:meta leader them");
    let settings = config(&server);
    let (mut ours, mut theirs) =
        (RedisBlobs::new(&settings, "us").unwrap(), RedisBlobs::new(&settings, "them").unwrap());
    let names: Vec<BlobName> = (0..600).map(|number| format!("them-1-p{number}").into()).collect();
    let group: Vec<_> = names.iter().map(|name| blob(name)).collect();
    theirs.put(&group).await.unwrap();
    assert!(!ours.remove(&names).await.unwrap(), "we were paused, and are not the writer");
    assert_eq!(ours.list().await.unwrap().len(), 600);
    assert!(theirs.remove(&names[1..]).await.unwrap());
    assert_eq!(theirs.list().await.unwrap(), names[..1]);
    let asked = [names[599].clone(), names[0].clone()];
    let found = theirs.get(&asked).await.unwrap();
    assert_eq!(found, [None, Some(names[0].as_bytes().to_vec())]);
    assert_eq!(server.ask::<u64>("DBSIZE"), 3, "meta, the index, and one blob");
}

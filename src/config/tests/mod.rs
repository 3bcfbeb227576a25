use super::*;
#[test]
fn explore() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portcullis.yml");
    for text in std::fs::read_to_string("/tmp/explore.txt").unwrap().split("=====\n") {
        std::fs::write(&path, text).unwrap();
        println!("-----\n{text}>>>");
        match Config::load(&path) {
            Ok(c) => println!("OK {:?}", c.warnings),
            Err(e) => println!("{}", e.to_string().replace(path.to_str().unwrap(), "p.yml")),
        }
    }
}

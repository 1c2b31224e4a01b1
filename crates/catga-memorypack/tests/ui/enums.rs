use catga_memorypack::MemoryPack;

#[derive(MemoryPack)]
enum NoUnion {
    One(String),
}

#[derive(MemoryPack)]
enum Nothing {}

#[derive(MemoryPack)]
#[repr(u128)]
enum Huge {
    One = 1,
}

#[derive(MemoryPack)]
#[memorypack(union)]
enum Tags {
    #[memorypack(tag = 1)]
    One(String),
    #[memorypack(tag = 1)]
    Two(String),
}

#[derive(MemoryPack)]
#[memorypack(union)]
enum NoTag {
    One(String),
}

#[derive(MemoryPack)]
#[memorypack(union)]
enum HighTag {
    #[memorypack(tag = 65536)]
    One(String),
}

#[derive(MemoryPack)]
#[memorypack(union)]
enum Tuple {
    #[memorypack(tag = 0)]
    One(i32, String),
}

#[derive(MemoryPack)]
#[memorypack(union)]
struct NoEnum {
    id: i32,
}

#[derive(MemoryPack)]
union Memory {
    a: i32,
    b: u32,
}

fn main() {}

use catga_memorypack::MemoryPack;

#[derive(MemoryPack)]
#[repr(C)]
struct NotRaw {
    id: i32,
    name: String,
}

#[derive(MemoryPack)]
struct Twice {
    maybe: Option<Option<i32>>,
    perhaps: Option<Option<String>>,
}

#[derive(MemoryPack)]
struct Moved {
    tuple: (u8, i64),
}

#[derive(MemoryPack)]
struct Boxed {
    number: Box<i32>,
}

#[derive(MemoryPack)]
struct Machine {
    count: usize,
}

fn main() {}

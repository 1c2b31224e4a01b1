use catga_memorypack::MemoryPack;

#[derive(MemoryPack)]
struct Gap {
    #[memorypack(order = 0)]
    a: i32,
    #[memorypack(order = 2)]
    b: i32,
}

#[derive(MemoryPack)]
struct Same {
    #[memorypack(order = 0)]
    a: i32,
    #[memorypack(order = 0)]
    b: i32,
}

#[derive(MemoryPack)]
struct Half {
    #[memorypack(order = 0)]
    a: i32,
    b: i32,
}

#[derive(MemoryPack)]
struct High {
    #[memorypack(order = 249)]
    a: i32,
}

#[derive(MemoryPack)]
struct Unknown {
    #[memorypack(rename = "b")]
    a: i32,
}

#[derive(MemoryPack)]
#[memorypack(compact)]
struct UnknownToo {
    a: i32,
}

#[derive(MemoryPack)]
#[memorypack(transparent)]
struct Two {
    a: i32,
    b: i32,
}

#[derive(MemoryPack)]
#[memorypack(version_tolerant, exact)]
struct Exactly {
    a: i32,
}

#[derive(MemoryPack)]
struct Lifetimes<'a, 'b> {
    a: &'a str,
    b: &'b str,
}

fn main() {}

import CheckpointIO
import TensorCore
import TestSupport

/// A tensor of a made checkpoint or adapter.
struct TreeTensor {
    let name: String
    let shape: [Int]
    var dtype = DType.f32
    let values: [Float]

    /// The values as a file of this type holds them.
    var stored: [Double] {
        var numbers = [Float](repeating: 0, count: values.count)
        numbers.withUnsafeMutableBufferPointer { numbers in
            encoded(values, dtype).withUnsafeBytes { TensorEncoding.plain(dtype).decode($0, into: numbers) }
        }
        return numbers.map(Double.init)
    }
}

/// Writes made checkpoints and adapters.
enum TreeFiles {
    /// A checkpoint in `path`, over so many shards, with a `config.json` of these members.
    static func write(_ tensors: [TreeTensor], shardCount: Int, _ configuration: JSONObject, to path: String) throws {
        let base = try AtomicDirectory(path)
        try base.write("config.json", text: JSONValue.object(configuration).text())
        var map = JSONObject()
        for shard in 0..<shardCount {
            let file = shardCount == 1 ? "model.safetensors" : "model-0000\(shard + 1)-of-0000\(shardCount).safetensors"
            let own = tensors.enumerated().filter { $0.offset * shardCount / tensors.count == shard }.map(\.element)
            for tensor in own { map[tensor.name] = .string(file) }
            try write(own, to: try base.writer(file))
        }
        if shardCount > 1 {
            try base.write(ShardIndex.fileName, text: JSONValue.object(["weight_map": .object(map)]).text())
        }
        try base.commit()
    }

    /// An adapter in `path`.
    static func writeAdapter(_ tensors: [TreeTensor], _ fields: JSONObject, to path: String) throws {
        let adapter = try AtomicDirectory(path)
        try adapter.write("adapter_config.json", text: JSONValue.object(fields).text())
        try write(tensors, to: try adapter.writer("adapter_model.safetensors"))
        try adapter.commit()
    }

    private static func write(_ tensors: [TreeTensor], to file: AtomicFileWriter) throws {
        let writer = try SafetensorsWriter(
            file, entries: tensors.map { SafetensorsEntry(name: $0.name, dtype: $0.dtype, shape: $0.shape) })
        for tensor in tensors { try encoded(tensor.values, tensor.dtype).withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }
}

extension JSONValue {
    /// An object of whole numbers.
    static func integers(_ numbers: [String: Int]) -> JSONValue {
        var object = JSONObject()
        for name in numbers.keys.sorted() { object[name] = numbers[name].map { .integer($0) } }
        return .object(object)
    }
}

/// Small random integers from a seed.
struct RandomNumbers {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state = RandomStream.mix(state &+ 0x9E37_79B9_7F4A_7C15)
        return state
    }

    mutating func number(in range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(next() % UInt64(range.count))
    }

    /// Whether something that happens once in so many times does.
    mutating func happens(onceIn count: Int) -> Bool { number(in: 1...count) == 1 }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[number(in: 0...elements.count - 1)] }
}

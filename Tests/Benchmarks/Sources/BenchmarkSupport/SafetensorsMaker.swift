import Foundation

/// A tensor of a file that is made up.
public struct MadeTensor: Sendable {
    /// How its values are stored.
    public enum Values: Sendable {
        /// BF16, random.
        case bf16
        /// BF16, ones: the weight of a norm.
        case ones
        /// F32, random.
        case f32
    }

    /// Its name.
    public let name: String
    /// Extents, outermost first.
    public let shape: [Int]
    /// What it holds.
    public let values: Values

    /// A tensor; see the properties.
    public init(_ name: String, _ shape: [Int], _ values: Values = .bf16) {
        self.name = name
        self.shape = shape
        self.values = values
    }

    /// Bytes of its values.
    public var bytes: Int { shape.reduce(values == .f32 ? 4 : 2, *) }

    fileprivate var type: String { values == .f32 ? "F32" : "BF16" }
}

/// Writes safetensors files of random small values, of about normal distribution with a deviation of 0.02: the same in
/// every run, and other ones in tensors of other names.
public struct SafetensorsMaker {
    private let bf16: [UInt16]
    private let f32: [Float]

    /// Makes the values, of which each tensor takes as many as it needs from a place of its own. Their count is odd, so that
    /// rows never repeat in step.
    public init() {
        var state: UInt64 = 0x9E37_79B9_7F4A_7C15
        f32 = (0..<8_388_593).map { _ in
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            // Four uniform numbers of 16 bits: their sum has the deviation 65536 / sqrt(3).
            let sum = (0..<4).reduce(0) { $0 + Int(state >> (16 * UInt64($1)) & 0xFFFF) } - 131_070
            return Float(sum) * (0.02 * 1.7320508 / 65536)
        }
        bf16 = f32.map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) }
    }

    /// Writes one file.
    public func write(_ tensors: [MadeTensor], to path: String) throws {
        var header: [String: Any] = ["__metadata__": ["format": "pt"]]
        var offset = 0
        for tensor in tensors {
            header[tensor.name] = [
                "dtype": tensor.type, "shape": tensor.shape, "data_offsets": [offset, offset + tensor.bytes],
            ]
            offset += tensor.bytes
        }
        var text = try JSONSerialization.data(withJSONObject: header, options: [.sortedKeys, .withoutEscapingSlashes])
        text.append(contentsOf: [UInt8](repeating: 0x20, count: (8 - text.count % 8) % 8))
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        guard file >= 0 else { throw ChildFailure(description: "\(path): \(String(cString: strerror(errno)))") }
        defer { close(file) }
        try withUnsafeBytes(of: UInt64(text.count).littleEndian) { try writeAll($0, file, path) }
        try text.withUnsafeBytes { try writeAll($0, file, path) }
        for tensor in tensors {
            switch tensor.values {
            case .ones:
                let ones = [UInt16](repeating: 0x3F80, count: tensor.bytes / 2)
                try ones.withUnsafeBytes { try writeAll($0, file, path) }
            case .bf16: try bf16.withUnsafeBytes { try write(tensor, from: $0, unit: 2, file, path) }
            case .f32: try f32.withUnsafeBytes { try write(tensor, from: $0, unit: 4, file, path) }
            }
        }
    }

    /// Writes a checkpoint: shards of at most `shardBytes`, unless one tensor has more, and behind them the index, whose
    /// presence says that the rest is whole.
    public func write(_ tensors: [MadeTensor], shardBytes: Int, configuration: String, to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try configuration.write(toFile: folder + "/config.json", atomically: true, encoding: .utf8)
        var shards: [[MadeTensor]] = [[]]
        var filled = 0
        for tensor in tensors {
            if filled > 0, filled + tensor.bytes > shardBytes {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += tensor.bytes
        }
        var places: [String: String] = [:]
        for (index, shard) in shards.enumerated() {
            let name = String(format: "model-%05d-of-%05d.safetensors", index + 1, shards.count)
            for tensor in shard { places[tensor.name] = name }
            try write(shard, to: folder + "/" + name)
        }
        let bytes = tensors.reduce(0) { $0 + $1.bytes }
        let list: [String: Any] = ["metadata": ["total_size": bytes], "weight_map": places]
        try JSONSerialization.data(withJSONObject: list, options: [.sortedKeys, .prettyPrinted])
            .write(to: URL(fileURLWithPath: folder + "/model.safetensors.index.json"))
    }

    /// Writes a LoRA as peft does, in F32, on the matrix `X.weight` [out, in] of each module X.
    ///
    /// - Parameter modules: the weights.
    public func writeLoRA(on modules: [MadeTensor], rank: Int, to folder: String) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let paths = modules.map { String($0.name.dropLast(".weight".count)) }
        let targets = Set(paths.map { String($0.split(separator: ".").last ?? "") }).sorted()
        let tensors = zip(paths, modules).flatMap { path, weight in
            [
                MadeTensor("base_model.model.\(path).lora_A.weight", [rank, weight.shape[1]], .f32),
                MadeTensor("base_model.model.\(path).lora_B.weight", [weight.shape[0], rank], .f32),
            ]
        }
        try write(tensors, to: folder + "/adapter_model.safetensors")
        let settings: [String: Any] = [
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0,
            "bias": "none", "target_modules": targets,
        ]
        try JSONSerialization.data(withJSONObject: settings, options: [.sortedKeys, .prettyPrinted])
            .write(to: URL(fileURLWithPath: folder + "/adapter_config.json"))
    }

    private func write(
        _ tensor: MadeTensor, from block: UnsafeRawBufferPointer, unit: Int, _ file: Int32, _ path: String
    ) throws {
        var left = tensor.bytes
        var start = unit * (tensor.name.utf8.reduce(7) { ($0 * 31 + Int($1)) % (block.count / unit) })
        while left > 0 {
            let count = min(left, block.count - start)
            try writeAll(UnsafeRawBufferPointer(rebasing: block[start..<start + count]), file, path)
            left -= count
            start = 0
        }
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer, _ file: Int32, _ path: String) throws {
        var done = 0
        while done < bytes.count {
            let count = Foundation.write(file, bytes.baseAddress! + done, bytes.count - done)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw ChildFailure(description: "\(path): \(String(cString: strerror(errno)))") }
            done += count
        }
    }
}

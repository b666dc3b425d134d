import CheckpointIO
import Compute
import Foundation
import Models
import TensorCore
import TestSupport
import Testing

/// gpt-oss as it is published, with experts in MXFP4: blocks of 32 numbers of four bits (E2M1), the lower half of a byte
/// first, and a power of two for each block.
@Suite struct MXFP4Tests {
    private static let source = fixture("tiny-decoders/gpt_oss")
    /// Experts, and numbers of a hidden state and of an expert's inside.
    private static let (experts, width) = (4, 32)
    private static let numbers: [Float] = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]

    /// Experts in blocks compute what the same experts do as numbers, which lie the other way round, [in, out].
    @Test func blocksComputeWhatTheirNumbersDo() throws {
        try withTemporaryFolder { folder in
            try write(to: folder + "/blocks", inBlocks: true)
            try write(to: folder + "/numbers", inBlocks: false)
            let found = try logits(folder + "/blocks")
            let expected = try logits(folder + "/numbers")
            let largest = expected.reduce(0) { max($0, abs($1)) }
            #expect(found.count == 20 * 512 && largest > 0)
            let worst = zip(found, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
            #expect(worst <= 1e-5 * largest, "\(worst) of \(largest)")
        }
    }

    /// Scales that are not as many as blocks are refused by name.
    @Test func missingScalesAreRefused() throws {
        try withTemporaryFolder { folder in
            try write(to: folder + "/blocks", inBlocks: true, leavingOut: "gate_up_proj_scales")
            let problem = #expect(throws: (any Error).self) { try logits(folder + "/blocks") }
            #expect("\(try #require(problem))".contains("gate_up_proj_scales"))
        }
    }

    private func logits(_ path: String) throws -> [Float] {
        let model = try ModelCheckpoint.open(path).makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let tokens = (0..<20).map { Int32($0 * 37 % 400) }
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(tokens, TokenLayout(lengths: [20]), in: Pass(tape))
        return tape.logits(hidden, head: model.head!, rows: tokens.indices.map(Int32.init)).toArray()
    }

    private func write(to path: String, inBlocks: Bool, leavingOut left: String = "-") throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var json = String(decoding: try readFile(Self.source + "/config.json"), as: UTF8.self)
        json = json.replacing("\"intermediate_size\": 16", with: "\"intermediate_size\": \(Self.width)")
        if inBlocks {
            json = json.replacing(
                "\"model_type\"", with: "\"quantization_config\": {\"quant_method\": \"mxfp4\"}, \"model_type\"")
        }
        try writeFile(path + "/config.json", json)
        var entries: [(entry: SafetensorsEntry, bytes: [UInt8])] = []
        func add(_ name: String, _ shape: [Int], _ values: [Float]) {
            entries.append(
                (SafetensorsEntry(name: name, dtype: .f32, shape: shape), values.withUnsafeBytes { Array($0) }))
        }
        let base = try Checkpoint.open(Self.source)
        for record in base.tensors where !record.name.contains(".experts.") {
            add(record.name, record.shape, try base.floats(of: record))
        }
        var stream = RandomStream(seed: 7)
        for layer in 0..<2 {
            for (name, rows) in [("gate_up_proj", 2 * Self.width), ("down_proj", Self.width)] {
                let full = "model.layers.\(layer).mlp.experts.\(name)"
                let blocks = (0..<Self.experts * rows * 16).map { _ in UInt8(truncatingIfNeeded: stream.nextBits()) }
                let scales = (0..<Self.experts * rows).map { _ in UInt8(120 + stream.nextBits() % 5) }
                if inBlocks {
                    let shape = [Self.experts, rows, 1]
                    entries.append((SafetensorsEntry(name: full + "_blocks", dtype: .u8, shape: shape + [16]), blocks))
                    entries.append((SafetensorsEntry(name: full + "_scales", dtype: .u8, shape: shape), scales))
                } else {
                    add(full, [Self.experts, Self.width, rows], Self.numbers(blocks, scales, rows: rows))
                }
                add(full + "_bias", [Self.experts, rows], [Float](repeating: 0.01, count: Self.experts * rows))
            }
        }
        entries.removeAll { $0.entry.name.hasSuffix(left) }
        let writer = try SafetensorsWriter(
            AtomicFileWriter(OutputTarget(path + "/model.safetensors")), entries: entries.map(\.entry), metadata: [])
        for (_, bytes) in entries { try bytes.withUnsafeBytes { try writer.append($0) } }
        try writer.finish()
    }

    /// The numbers of blocks, one a row, as [experts, in, out].
    private static func numbers(_ blocks: [UInt8], _ scales: [UInt8], rows: Int) -> [Float] {
        var values = [Float](repeating: 0, count: experts * width * rows)
        for expert in 0..<experts {
            for row in 0..<rows {
                let block = expert * rows + row
                for column in 0..<width {
                    let pair = blocks[block * 16 + column / 2]
                    let code = column % 2 == 0 ? pair & 15 : pair >> 4
                    var number = numbers[Int(code)]
                    for _ in Int(scales[block])..<127 { number /= 2 }
                    values[(expert * width + column) * rows + row] = number
                }
            }
        }
        return values
    }
}

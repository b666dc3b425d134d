import Adapters
import CheckpointIO
import Glibc
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Random models, converted between the families of formats and merged; the seed of a failure is its test's argument.
@Suite struct FamilyPropertyTests {
    private func convert(_ input: String, to output: String, limit: Int? = nil) throws {
        let format: CheckpointConversion.Format =
            output.hasSuffix(".gguf") ? .gguf : output.hasSuffix(".zst") ? .safetensorsZstd : .huggingFace
        try CheckpointConversion(try Checkpoint.open(input), to: format, at: output, shardByteLimit: limit)
            .write(threadCount: 1 + (limit ?? 0) % 3)
    }

    private func expectSame(_ left: String, _ right: String) throws {
        let (left, right) = (try Checkpoint.open(left), try Checkpoint.open(right))
        #expect(Set(left.tensors.map(\.name)) == Set(right.tensors.map(\.name)))
        for record in right.tensors {
            let other = try left.requiredRecord(record.name)
            #expect(other.encoding == record.encoding && other.shape == record.shape, "\(record.name)")
            let isSame = try bytes(left, record.name) == bytes(right, record.name)
            #expect(isSame, "\(record.name)")
        }
    }

    /// Shards of Hugging Face's, GGUF whole and split, packed files and back: every tensor with its name, type, shape
    /// and bits, and the same configuration.
    @Test(arguments: 0..<16) func modelComesBackFromEveryForm(seed: UInt64) throws {
        var random = RandomStream(seed: seed)
        try withTemporaryFolder { folder in
            try RandomLlama.writeTokenizer(to: folder + "/tokenizer")
            let source = folder + "/in"
            try RandomLlama(&random).write(to: source, tokenizer: folder + "/tokenizer", &random, anyBits: true)
            func limit() -> Int { 1 + random.nextIndex(below: 1 << (6 + random.nextIndex(below: 8))) }
            try convert(source, to: folder + "/shards", limit: limit())
            try expectSame(folder + "/shards", source)
            try convert(folder + "/shards", to: folder + "/whole.gguf")
            try convert(folder + "/whole.gguf", to: folder + "/part.gguf", limit: limit())
            let parts = try names(in: folder).filter { $0.hasPrefix("part") }
            let part = folder + "/" + parts[random.nextIndex(below: parts.count)]
            try convert(part, to: folder + "/joined.gguf")
            #expect(try readFile(folder + "/joined.gguf") == readFile(folder + "/whole.gguf"))

            let back = folder + "/back"
            try convert(part, to: back, limit: limit())
            try expectSame(back, source)
            let (old, new) = (try ModelCheckpoint.open(source), try ModelCheckpoint.open(back))
            #expect(try new.configuration == old.configuration)

            mkdir(folder + "/packed", 0o777)
            try convert(back, to: folder + "/packed/model.safetensors.zst")
            for name in try names(in: back) where name.hasSuffix(".json") && name != ShardIndex.fileName {
                try writeFile(folder + "/packed/" + name, readFile(back + "/" + name))
            }
            try expectSame(folder + "/packed", source)
            try convert(folder + "/packed", to: folder + "/again.gguf")
            try expectSame(folder + "/again.gguf", folder + "/whole.gguf")
        }
    }

    /// A random adapter over random modules of `base`: LoRA with alpha / r or alpha / sqrt(r) and a rank and an alpha
    /// of its own for one module, or DoRA.
    private func adapter(
        _ kind: AdapterKind, for base: ModelCheckpoint, _ random: inout RandomStream, path: String
    ) throws -> AdapterDirectory {
        let all = base.linearModules
        var modules = all.filter { _ in random.nextIndex(below: 3) > 0 }
        if modules.isEmpty { modules = [all[random.nextIndex(below: all.count)]] }
        let special = modules[random.nextIndex(below: modules.count)].path
        let configuration = try AdapterConfiguration(
            kind.newSettings([
                "rank": .integer(1 + random.nextIndex(below: 9)), "alpha": .real(1 + 4 * random.nextUniform()),
                "rslora": .bool(random.nextIndex(below: 2) == 1),
                "rank_pattern": .object([special: .integer(1 + random.nextIndex(below: 12))]),
                "alpha_pattern": .object([special: .real(1 + 8 * random.nextUniform())]),
            ]), isGated: false, targets: .names(modules.map(\.path)))
        let tensors = modules.flatMap { module in
            configuration.tensorRoles(of: module.path).map { role -> AdapterTensor in
                let shape = role.shape(
                    rank: configuration.rank(for: module.path), outputSize: module.outputSize,
                    inputSize: module.inputSize)
                let values = random.uniforms(shape.reduce(1, *), bound: 1)
                let isMagnitude = role.suffix == PEFTNames.magnitude
                return AdapterTensor(
                    PEFTNames.key(module.path, role.suffix), shape, isMagnitude ? values.map { $0 + 1.5 } : values)
            }
        }
        return try AdapterDirectory(
            configuration: configuration, modules: modules.map(\.path), tensors: tensors,
            origin: AdapterOrigin(path: path))
    }

    /// What a merged weight is in double, and for each element the size that the sums of floats are relative to.
    private func exact(
        _ adapters: [WeightedAdapter], _ module: String, base: [Double], width: Int
    ) throws -> (values: [Double], magnitudes: [Double], rank: Int) {
        var (values, magnitudes, rankSum) = (base, base.map { abs($0) }, 0)
        for weighted in adapters where weighted.adapter.modules.contains(module) {
            let (adapter, configuration) = (weighted.adapter, weighted.adapter.configuration)
            let numbers = (configuration.settings as! any LowRankSettings).numbers
            let rank = numbers.rankPattern.first { $0.pattern == module }?.value ?? numbers.rank
            let alpha = numbers.alphaPattern.first { $0.pattern == module }?.value ?? numbers.alpha
            let scaling = alpha / (numbers.usesRSLoRA ? Double(rank).squareRoot() : Double(rank))
            let a = try #require(adapter.tensor(module, PEFTNames.loraA)).values
            let b = try #require(adapter.tensor(module, PEFTNames.loraB)).values
            rankSum += rank
            for index in values.indices {
                let (row, column) = index.quotientAndRemainder(dividingBy: width)
                for k in 0..<rank {
                    let term = weighted.weight * scaling * Double(b[row * rank + k]) * Double(a[k * width + column])
                    values[index] += term
                    magnitudes[index] += abs(term)
                }
            }
            guard configuration.kind == .dora else { continue }
            let lengths = try #require(adapter.tensor(module, PEFTNames.magnitude)).values
            for (row, length) in lengths.enumerated() {
                let range = row * width..<(row + 1) * width
                let factor = Double(length) / range.reduce(0) { $0 + values[$1] * values[$1] }.squareRoot()
                for index in range {
                    values[index] *= factor
                    magnitudes[index] *= max(1, factor)
                }
            }
        }
        return (values, magnitudes, rankSum)
    }

    /// Into Hugging Face's form against sums in double: one rounding to the type, and the rounding of sums in F32. Into
    /// the model's GGUF twin: the same bits.
    @Test(arguments: 0..<16) func mergedWeightsAreTheSumsInDouble(seed: UInt64) throws {
        var random = RandomStream(seed: seed)
        try withTemporaryFolder { folder in
            try RandomLlama.writeTokenizer(to: folder + "/tokenizer")
            let types = [[DType.f32, .f16, .bf16], [.f64]][random.nextIndex(below: 6) / 5]
            try RandomLlama(&random, types: types)
                .write(to: folder + "/in", tokenizer: folder + "/tokenizer", &random)
            let base = try ModelCheckpoint.open(folder + "/in")
            let kinds: [AdapterKind] = [[.dora], [.lora], [.lora, .lora]][random.nextIndex(below: 3)]
            var adapters: [WeightedAdapter] = []
            for (index, kind) in kinds.enumerated() {
                let adapter = try adapter(kind, for: base, &random, path: "\(index)")
                adapters.append(WeightedAdapter(adapter, weight: kinds.count == 1 ? 1 : 0.25 + random.nextUniform()))
            }
            _ = try CheckpointMerge(base: base, adapters: adapters).write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            let changed = Set(adapters.flatMap(\.adapter.modules))
            for module in base.linearModules {
                let name = CheckpointNames.weight(of: module.path)
                let dtype = try #require(base.record(of: name)?.encoding.plainType)
                #expect(merged.record(of: name)?.encoding == .plain(dtype))
                let (old, new) = (try doubles(base.checkpoint, name), try doubles(merged.checkpoint, name))
                #expect((old != new) == changed.contains(module.path), "\(name)")
                let (values, magnitudes, rank) = try exact(
                    adapters, module.path, base: old, width: module.inputSize)
                // Each product and sum is rounded to F32 once, and so are DoRA's norm and quotient.
                let sums = Double(changed.contains(module.path) ? rank + 8 : 0) * 0x1p-24
                let worst = values.indices.map {
                    abs(new[$0] - values[$0])
                        / (unitInLastPlace(of: values[$0], in: dtype) / 2 * 1.001 + sums * magnitudes[$0])
                }.max()!
                #expect(worst <= 1, "\(name) of \(dtype), rank \(rank)")
            }
            // GGUF has no matrices of F64.
            guard types != [.f64] else { return }
            try convert(folder + "/in", to: folder + "/twin.gguf")
            _ = try CheckpointMerge(base: ModelCheckpoint.open(folder + "/twin.gguf"), adapters: adapters)
                .write(to: folder + "/merged.gguf")
            try convert(folder + "/merged.gguf", to: folder + "/back")
            try expectSame(folder + "/back", folder + "/merged")
        }
    }
}

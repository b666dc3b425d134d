import Adapters
import CheckpointIO
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Files whose every byte llama.cpp's `llama_model_quantize` wrote.
@Suite struct QuantizedByLlamaTests {
    /// The types whose bytes ggml's reference decides; the others are searched.
    private static let exact = ["F32", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "TQ1_0", "TQ2_0"]

    private func digest(_ values: [Float]) -> String {
        var hash = SHA256()
        values.withUnsafeBytes { hash.add($0) }
        return hash.finished()
    }

    private func squaredError(_ values: [Float], _ exact: [Double]) -> Double {
        zip(values, exact).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    }

    private func expect(_ checkpoint: Checkpoint, holds file: QuantizedByLlama) throws {
        #expect(Set(checkpoint.tensors.map(\.name)) == Set(file.tensors.keys))
        for record in checkpoint.tensors {
            let isSame = try digest(checkpoint.floats(of: record)) == file.tensors[record.name]?.sha256
            #expect(isSame, "\(record.name)")
        }
    }

    private func convert(
        _ input: String, to format: CheckpointConversion.Format, at output: String, type: String
    ) throws {
        let mix = try #require(QuantizationMix(named: type))
        try CheckpointConversion(try Checkpoint.open(input), to: format, at: output, type: mix).write(threadCount: 1)
    }

    @Test func sourceIsWhatLlamaCppWasGiven() {
        for tensor in QuantizedByLlama.source {
            #expect(digest(tensor.values) == QuantizedByLlama.sourceDigest(tensor.name), "\(tensor.name)")
        }
    }

    @Test(arguments: QuantizedByLlama.all)
    func typesAndNumbersAreThoseThatGGUFDecodes(_ file: QuantizedByLlama) throws {
        let model = try ModelCheckpoint.open(file.path)
        #expect(model.unknownTensors == [] && model.linearModules.count == 8)
        for record in model.checkpoint.tensors {
            #expect(record.encoding.description == file.tensors[record.name]?.type, "\(record.name)")
        }
        try expect(model.checkpoint, holds: file)
    }

    @Test(arguments: QuantizedByLlama.all)
    func modelComputesWhatItsNumbersInF32Do(_ file: QuantizedByLlama) throws {
        try withTemporaryFolder { folder in
            try convert(file.path, to: .huggingFace, at: folder + "/plain", type: "f32")
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let logits = try [file.path, folder + "/plain"].map { path in
                try AdaptedModel.logits(ModelCheckpoint.open(path).makeModel(context), [[2, 5, 3, 0, 4], [7, 6]])
            }
            #expect(logits[0].allSatisfy(\.isFinite) && logits[0].contains { abs($0) > 0.1 })
            #expect(relativeError(logits[0], logits[1]) < 1e-5)
        }
    }

    /// F32 in Hugging Face's form and row order, and back.
    @Test(arguments: QuantizedByLlama.all)
    func numbersComeBackFromHuggingFacesForm(_ file: QuantizedByLlama) throws {
        try withTemporaryFolder { folder in
            try convert(file.path, to: .huggingFace, at: folder + "/plain", type: "f32")
            let query = try Checkpoint.open(folder + "/plain").requiredRecord("model.layers.0.self_attn.q_proj.weight")
            #expect(query.encoding == .plain(.f32) && query.shape == [32, 256])
            try convert(folder + "/plain", to: .gguf, at: folder + "/back.gguf", type: "f32")
            try expect(Checkpoint.open(folder + "/back.gguf"), holds: file)
            // Blocks whose scale follows from their largest number are found again in their numbers.
            guard ["q8_0", "q4_0"].contains(file.name) else { return }
            try convert(folder + "/plain", to: .gguf, at: folder + "/again.gguf", type: file.name)
            let (old, new) = (try Checkpoint.open(file.path), try Checkpoint.open(folder + "/again.gguf"))
            for (name, tensor) in file.tensors where Self.exact.contains(tensor.type) {
                let isSame = try bytes(new, name) == bytes(old, name)
                #expect(isSame, "\(name)")
            }
        }
    }

    /// Every module that can be written is changed, but two.
    @Test(arguments: QuantizedByLlama.all)
    func mergeKeepsTypesAndCopiesTheRest(_ file: QuantizedByLlama) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(file.path)
            func name(_ module: LinearModule) throws -> String {
                try #require(LlamaNames.gguf(of: CheckpointNames.weight(of: module.path)))
            }
            func isWritable(_ module: LinearModule) throws -> Bool {
                try #require(base.checkpoint.record(name(module))).encoding.isWritable
            }
            let candidates = base.linearModules.filter { !$0.path.hasSuffix("gate_proj") && $0.path != "lm_head" }
            let modules = try candidates.filter(isWritable)
            #expect(modules.count >= 2)
            let adapter = try adapter(modules)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out.gguf")
            let merged = try Checkpoint.open(folder + "/out.gguf")
            #expect(merged.tensors.map(\.name) == base.checkpoint.tensors.map(\.name))
            #expect(merged.tensors.map(\.encoding) == base.checkpoint.tensors.map(\.encoding))
            let changed = try Set(modules.map(name))
            for record in base.checkpoint.tensors {
                let isSame = try bytes(merged, record.name) == bytes(base.checkpoint, record.name)
                #expect(isSame != changed.contains(record.name), "\(record.name)")
            }
            for module in modules {
                let record = try #require(merged.record(name(module)))
                let width = module.inputSize
                let isPermuted = module.path.contains("q_proj") || module.path.contains("k_proj")
                let update = BlockModel.update(adapter, module.path, width: width)
                var exact = try base.checkpoint.floats(of: base.checkpoint.requiredRecord(record.name)).map(Double.init)
                for index in exact.indices {
                    let row = index / width
                    exact[index] += update[(isPermuted ? BlockModel.huggingFaceRow(row) : row) * width + index % width]
                }
                let nearest = try BlockModel.encode(exact.map { Float($0) }, record.encoding)
                let limit = 1.02 * squaredError(BlockModel.decode(nearest, record.encoding), exact)
                #expect(try squaredError(merged.floats(of: record), exact) <= limit, "\(record.name)")
            }
            // The others are refused, unless another type is asked for.
            guard let coarse = try candidates.first(where: { try !isWritable($0) }) else { return }
            let merge = try CheckpointMerge(base: base, adapter: self.adapter([coarse]))
            let error = try #require(throws: TransformError.self) { try merge.write(to: folder + "/coarse.gguf") }
            #expect(error.description.contains("which tspeft cannot encode") && error.exitStatus == .unsupported)
            let report = try merge.write(to: folder + "/coarse.gguf", as: TensorEncoding(writableName: "Q8_0"))
            #expect(report.mergedCount == 1 && report.dtypes == ["Q8_0"])
        }
    }

    /// A dense adapter of rank 2 with scaling 1 over these modules.
    private func adapter(_ modules: [LinearModule]) throws -> AdapterDirectory {
        let configuration = try AdapterConfiguration(
            LoRASettings(rank: 2, alpha: 2), isGated: false, targets: .names(modules.map(\.path)))
        let tensors = modules.enumerated().flatMap { index, module -> [AdapterTensor] in
            let seed = UInt64(100 + 2 * index)
            let a = randomValues(2 * module.inputSize, seed: seed)
            let b = randomValues(2 * module.outputSize, seed: seed + 1)
            return [
                AdapterTensor(PEFTNames.key(module.path, PEFTNames.loraA), [2, module.inputSize], a),
                AdapterTensor(PEFTNames.key(module.path, PEFTNames.loraB), [module.outputSize, 2], b),
            ]
        }
        return try AdapterDirectory(configuration: configuration, modules: modules.map(\.path), tensors: tensors)
    }

    @Test(arguments: QuantizedByLlama.convertible)
    func convertWritesWhatLlamaCppDoes(_ file: QuantizedByLlama) throws {
        try withTemporaryFolder { folder in
            try QuantizedByLlama.writeSource(to: folder + "/source.gguf")
            try convert(folder + "/source.gguf", to: .gguf, at: folder + "/ours.gguf", type: file.name)
            let (theirs, ours) = (try Checkpoint.open(file.path), try Checkpoint.open(folder + "/ours.gguf"))
            let (old, new) = (try #require(theirs.metadata), try #require(ours.metadata))
            // Ours says also what it was made of.
            #expect(Set(new.keys).symmetricDifference(old.keys) == [BaseFingerprint.sourcesKey])
            for key in old.keys { #expect(new.encoded(key) == old.encoded(key), "\(key)") }
            for (name, shape, values) in QuantizedByLlama.source {
                let (left, right) = (try ours.requiredRecord(name), try theirs.requiredRecord(name))
                #expect(left.encoding == right.encoding && left.shape == shape, "\(name)")
                try expect(bytes(ours, name), areAsGoodAs: bytes(theirs, name), of: values, left.encoding, name)
            }
        }
    }

    /// Types that no file type of `convert` gives these tensors.
    @Test func blocksOfEveryOtherTypeAreWhatLlamaCppWrites() throws {
        let file = try #require(QuantizedByLlama.all.first { $0.name == "legacy" })
        let theirs = try Checkpoint.open(file.path)
        var types: Set<String> = []
        for (name, _, values) in QuantizedByLlama.source {
            let encoding = try theirs.requiredRecord(name).encoding
            guard encoding.isWritable else { continue }
            types.insert(encoding.description)
            let ours = try BlockModel.encode(values, encoding)
            try expect(ours, areAsGoodAs: bytes(theirs, name), of: values, encoding, name)
        }
        #expect(types == ["F32", "IQ4_NL", "MXFP4", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0"])
    }

    private func expect(
        _ ours: [UInt8], areAsGoodAs theirs: [UInt8], of values: [Float], _ encoding: TensorEncoding, _ name: String
    ) throws {
        if Self.exact.contains(encoding.description) {
            let isSame = ours == theirs
            #expect(isSame, "\(name) in \(encoding)")
            return
        }
        let exact = values.map(Double.init)
        let errors = [ours, theirs].map { squaredError(BlockModel.decode($0, encoding), exact).squareRoot() }
        #expect(errors[0] <= errors[1], "\(name) in \(encoding): \(errors[0] / errors[1])")
        #expect(errors[1] > 0)
    }
}

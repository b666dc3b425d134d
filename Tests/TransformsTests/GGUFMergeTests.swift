import Adapters
import CheckpointIO
import Compute
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging into GGUF files.
@Suite struct GGUFMergeTests {
    private func squared(_ values: ArraySlice<Float>, _ exact: ArraySlice<Double>) -> Double {
        zip(values, exact).reduce(0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    }

    /// The update is computed here in double and put into the file's order of rows; a block is as good as the encoding
    /// of that sum.
    @Test(arguments: TensorEncoding.writable.map(\.description))
    func mergedBlocksAreTheNearestEncodingOfTheSum(_ type: String) throws {
        let encoding = try #require(TensorEncoding(writableName: type))
        try withTemporaryFolder { folder in
            let base = try BlockModel.write(folder + "/base.gguf", encoding)
            let adapter = try BlockModel.adapter(size: 0.5)
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out.gguf")
            let merged = try Checkpoint.open(folder + "/out.gguf")
            #expect(report.mergedCount == 5 && report.dtypes == [type] && report.tensorFiles == ["out.gguf"])
            #expect(try names(in: folder) == ["base.gguf", "out.gguf"])
            let group = encoding.group
            for (module, shape) in BlockModel.wide {
                let name = try #require(LlamaNames.gguf(of: module + ".weight"))
                #expect(merged.record(name)?.encoding == encoding)
                let (before, after) = (try bytes(base.checkpoint, name), try bytes(merged, name))
                let update = BlockModel.update(adapter, module, width: shape[1])
                let isPermuted = module.contains("q_proj") || module.contains("k_proj")
                let old = BlockModel.decode(before, encoding)
                var exact = old.map(Double.init)
                var isChanged = [Bool](repeating: false, count: old.count / group.elements)
                for index in exact.indices {
                    let row = index / shape[1]
                    let source = isPermuted ? BlockModel.huggingFaceRow(row) : row
                    let change = update[source * shape[1] + index % shape[1]]
                    exact[index] += change
                    if change != 0 { isChanged[index / group.elements] = true }
                }
                let found = BlockModel.decode(after, encoding)
                let nearest = BlockModel.decode(try BlockModel.encode(exact.map { Float($0) }, encoding), encoding)
                var (kept, near) = (true, true)
                for block in isChanged.indices {
                    let (part, range) = (
                        block * group.bytes..<(block + 1) * group.bytes,
                        block * group.elements..<(block + 1) * group.elements
                    )
                    if isChanged[block] {
                        let bound = 1.02 * squared(nearest[range], exact[range]) + 1e-9 * Double(group.elements)
                        near = near && squared(found[range], exact[range]) <= bound
                    } else {
                        kept = kept && before[part] == after[part]
                    }
                }
                #expect(isChanged.contains(false) && isChanged.contains(true))
                #expect(kept, "a block without an update has other bytes in \(name)")
                #expect(near, "a block of \(name) is not the nearest encoding")
                let rounding = try #require(report.roundings.first { $0.tensor == name })
                let rms = (update.reduce(0) { $0 + $1 * $1 } / Double(update.count)).squareRoot()
                #expect(abs(rounding.updateRMS - rms) <= 1e-4 * rms)
                let error = (squared(found[...], exact[...]) / Double(found.count)).squareRoot()
                #expect(abs(rounding.roundingRMS - error) <= 1e-3 * error + 1e-6)
                #expect(rounding.outcome.changedCount == zip(old, found).count { $0.bitPattern != $1.bitPattern })
            }
        }
    }

    @Test(arguments: [nil, UInt32(256)])
    func everythingElseIsCopiedByteForByte(_ alignment: UInt32?) throws {
        try withTemporaryFolder { folder in
            let q8 = TensorEncoding.block(GGMLBlockFormat(name: "Q8_0")!)
            let base = try BlockModel.write(folder + "/base.gguf", q8, alignment: alignment).checkpoint
            let adapter = try BlockModel.adapter(size: 0.5)
            var steps: [Int] = []
            _ = try CheckpointMerge(base: ModelCheckpoint.open(base.path), adapter: adapter).write(
                to: folder + "/out.gguf", progress: { done, _ in steps.append(done) })
            #expect(steps == steps.sorted() && steps.last == base.tensors.reduce(0) { $0 + $1.byteCount })
            let merged = try Checkpoint.open(folder + "/out.gguf")
            #expect(merged.tensors.map(\.name) == base.tensors.map(\.name))
            #expect(merged.tensors.map(\.encoding) == base.tensors.map(\.encoding))
            #expect(merged.tensors.allSatisfy { $0.offset % Int(alignment ?? 32) == 0 })
            let changed = Set(BlockModel.wide.map { LlamaNames.gguf(of: $0.name + ".weight")! })
            for record in base.tensors {
                let isSame = try bytes(merged, record.name) == bytes(base, record.name)
                #expect(isSame == !changed.contains(record.name), "\(record.name)")
            }
            let (old, new) = (try #require(base.metadata), try #require(merged.metadata))
            #expect(new.keys == old.keys + ["general.quantization_version", "tspeft.merges"])
            for key in old.keys { #expect(new.encoded(key) == old.encoded(key), "\(key)") }
        }
    }

    /// The same values as the merge of the model's Hugging Face twin, for what is added and for what is rescaled.
    @Test(arguments: [AdapterKind.lora, .dora])
    func mergedFileHoldsWhatTheMergedTwinHolds(_ kind: AdapterKind) throws {
        try withTemporaryFolder { folder in
            let twin = try ModelCheckpoint.open(fixture("tiny-llama"))
            let gguf = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            let configuration = try AdapterConfiguration(
                kind.newSettings(rank: 2, alpha: 2), isGated: false, targets: .names(["q_proj", "k_proj", "up_proj"]))
            let modules = try configuration.match(twin.linearModules).modules
            let tensors = modules.enumerated().flatMap { index, module in
                configuration.tensorRoles(of: module.path).map { role -> AdapterTensor in
                    let shape = role.shape(rank: 2, outputSize: module.outputSize, inputSize: module.inputSize)
                    let isMagnitude = role.suffix == PEFTNames.magnitude
                    let values = randomValues(
                        shape.reduce(1, *), seed: UInt64(index), in: isMagnitude ? 0.5...1.5 : -0.2...0.2)
                    return AdapterTensor(PEFTNames.key(module.path, role.suffix), shape, values)
                }
            }
            let adapter = try AdapterDirectory(
                configuration: configuration, modules: modules.map(\.path), tensors: tensors)
            _ = try CheckpointMerge(base: twin, adapter: adapter).write(to: folder + "/twin")
            let report = try CheckpointMerge(base: gguf, adapter: adapter).write(to: folder + "/out.gguf")
            let merged = try ModelCheckpoint.open(folder + "/out.gguf")
            let reference = try ModelCheckpoint.open(folder + "/twin")
            #expect(report.mergedCount == modules.count && report.advice == nil)
            for module in modules {
                let name = CheckpointNames.weight(of: module.path)
                let isSame = try merged.floats(name) == reference.floats(name)
                #expect(isSame, "\(name)")
            }
        }
    }

    @Test func mergedModelComputesWhatTheAdapterDoes() throws {
        try withTemporaryFolder { folder in
            let base = try BlockModel.write(folder + "/base.gguf", .plain(.bf16))
            let adapter = try BlockModel.adapter(size: 0.1)
            _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out.gguf", as: .plain(.f32))
            let merged = try ModelCheckpoint.open(folder + "/out.gguf")
            let tokens = AdaptedModel.tokens(20, seed: 3, below: 12)
            let context = ComputeContext(dtype: .f32, threadCount: 1)
            let model = try base.makeModel(context)
            let plain = try AdaptedModel.logits(model, [tokens])
            _ = try InjectedAdapter(
                into: model, adapter.configuration, tensors: adapter.allTensors, thresholds: [:], source: "adapter")
            let wanted = try AdaptedModel.logits(model, [tokens])
            let found = try AdaptedModel.logits(merged.makeModel(context), [tokens])
            #expect(relativeError(found, wanted) < 1e-5)
            #expect(relativeError(plain, wanted) > 1e-3, "the adapter does something")
        }
    }

    /// Weights of Q4_0 lie on a grid with steps of about an eighth of a block's largest.
    @Test func updateThatRoundingSwallowsIsReportedWithATypeThatKeepsIt() throws {
        try withTemporaryFolder { folder in
            let q4 = TensorEncoding.block(GGMLBlockFormat(name: "Q4_0")!)
            let base = try BlockModel.write(folder + "/base.gguf", q4)
            let merge = try CheckpointMerge(base: base, adapter: BlockModel.adapter(size: 0.01))
            let report = try merge.write(to: folder + "/q4.gguf")
            let advice = try #require(report.advice)
            #expect(advice.tensors.count == 5 && advice.encodings == ["Q4_0"])
            #expect(report.roundings.allSatisfy { $0.arrivedShare < 0.5 && $0.isSwallowed })
            let name = try #require(advice.dtype)
            let kept = try #require(TensorEncoding(writableName: name))
            #expect(kept.bitsPerElement > q4.bitsPerElement && kept.bitsPerElement < 32)
            for (index, type) in [kept, .block(GGMLBlockFormat(name: "Q8_0")!), .plain(.f32)].enumerated() {
                let report = try merge.write(to: folder + "/\(index).gguf", as: type)
                #expect(report.advice == nil && report.dtypes == [type.description])
                #expect(report.roundings.allSatisfy { $0.arrivedShare > 0.85 })
                let merged = try Checkpoint.open(folder + "/\(index).gguf")
                let types = BlockModel.wide.map {
                    merged.record(LlamaNames.gguf(of: $0.name + ".weight")!)?.encoding
                }
                #expect(types.allSatisfy { $0 == type })
                // What the adapter does not change keeps its type.
                #expect(merged.record("output.weight")?.encoding == q4)
                #expect(merged.metadata?["general.quantization_version"]?.intValue == 2)
            }
            let large = try CheckpointMerge(base: base, adapter: BlockModel.adapter(size: 1)).write(
                to: folder + "/large.gguf")
            #expect(large.advice == nil)
        }
    }

    /// Weights near a million, which F16 cannot hold, so that it is no type to be advised.
    @Test func typeThatCannotHoldTheWeightsIsNotAdvised() throws {
        try withTemporaryFolder { folder in
            let q4 = TensorEncoding.block(GGMLBlockFormat(name: "Q4_0")!)
            let base = try BlockModel.write(folder + "/base.gguf", q4, size: 4e5)
            let merge = try CheckpointMerge(base: base, adapter: BlockModel.adapter(size: 10))
            let error = try #require(throws: TransformError.self) { try merge.write(to: folder + "/out.gguf") }
            #expect(
                error.description.hasSuffix(
                    "every change is smaller than the rounding of Q4_0; dtype: f32 would keep the updates"))
        }
    }

    @Test func mergeThatRoundingUndoesMakesNoFile() throws {
        try withTemporaryFolder { folder in
            let base = try BlockModel.write(folder + "/base.gguf", .plain(.bf16))
            let merge = try CheckpointMerge(base: base, adapter: BlockModel.adapter(size: 1e-30))
            let error = try #require(throws: TransformError.self) { try merge.write(to: folder + "/out.gguf") }
            #expect(error.description.hasSuffix("every change is smaller than the rounding of BF16"))
            #expect(try names(in: folder) == ["base.gguf"])
        }
    }

    @Test func sameAdapterIsNotMergedTwice() throws {
        try withTemporaryFolder { folder in
            let base = try BlockModel.write(folder + "/base.gguf", .plain(.f16))
            let (one, two) = (try BlockModel.adapter(size: 0.1), try BlockModel.adapter(size: 0.1, seed: 90))
            _ = try CheckpointMerge(base: base, adapter: one).write(to: folder + "/one.gguf")
            let merged = try ModelCheckpoint.open(folder + "/one.gguf")
            #expect(try MergeRecord.read(of: merged.checkpoint).merges.count == 1)
            let error = try #require(throws: TransformError.self) { try CheckpointMerge(base: merged, adapter: one) }
            #expect(error.description.contains("one.gguf has this adapter in it already (tspeft.merges)"))
            // Another one is, and a directory made from the file has the record too.
            _ = try CheckpointMerge(base: merged, adapter: two).write(to: folder + "/two.gguf")
            let both = try Checkpoint.open(folder + "/two.gguf")
            #expect(try MergeRecord.read(of: both).merges.count == 2)
            #expect(both.metadata?.keys.count { $0 == "tspeft.merges" } == 1)
        }
    }

    /// Whole layers, in a base whose head is its embedding.
    @Test(arguments: [[WholeModule.outputHead], [.embedding], [.outputHead, .embedding]])
    func tiedBaseIsUntied(_ modules: [WholeModule]) throws {
        try withTemporaryFolder { folder in
            let q8 = TensorEncoding.block(GGMLBlockFormat(name: "Q8_0")!)
            let base = try BlockModel.write(folder + "/base.gguf", q8, tied: true)
            let dense = try BlockModel.adapter(size: 0.5)
            var fields = try #require(dense.configuration.json.objectValue)
            fields["modules_to_save"] = .array(modules.map { .string($0.name) })
            func values(_ module: WholeModule) -> [Float] { randomValues(12 * 256, seed: module == .embedding ? 5 : 6) }
            let adapter = try AdapterDirectory(
                configuration: AdapterConfiguration(json: .object(fields), file: "adapter_config.json"),
                modules: dense.modules,
                tensors: dense.tensors
                    + modules.map { AdapterTensor(PEFTNames.key($0.path, PEFTNames.weight), [12, 256], values($0)) })
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out.gguf")
            #expect(report.mergedCount == 5 + modules.count)
            let merged = try ModelCheckpoint.open(folder + "/out.gguf")
            #expect(try !merged.configuration.tiedEmbeddings)
            #expect(merged.checkpoint.tensors.count == base.checkpoint.tensors.count + 1)
            let old = try bytes(base.checkpoint, "token_embd.weight")
            for module in WholeModule.allCases {
                let expected = modules.contains(module) ? try BlockModel.encode(values(module), q8) : old
                #expect(
                    try bytes(merged.checkpoint, module == .embedding ? "token_embd.weight" : "output.weight")
                        == expected)
            }
        }
    }

    @Test func typeThatCannotBeWrittenIsRefusedWithThoseThatCan() throws {
        try withTemporaryFolder { folder in
            let coarse = try BlockModel.write(
                folder + "/base.gguf", .block(GGMLBlockFormat(name: "IQ2_XXS")!))
            let merge = try CheckpointMerge(base: coarse, adapter: BlockModel.adapter(size: 0.5))
            let error = try #require(throws: TransformError.self) { try merge.write(to: folder + "/out.gguf") }
            #expect(
                error.description.contains(
                    "tensor 'blk.0.attn_q.weight' is stored as IQ2_XXS, which tspeft cannot encode; dtype gives the "
                        + "changed tensors another type: "))
            #expect(error.description.contains("q8_0") && error.exitStatus == .unsupported)
            #expect(try merge.write(to: folder + "/out.gguf", as: .plain(.f16)).dtypes == ["F16"])

            // Rows of 64 are no whole blocks of 256.
            let tiny = try ModelCheckpoint.open(fixture("tiny-llama-gguf/tiny-llama-bf16.gguf"))
            let narrow = try CheckpointMerge(base: tiny, adapter: ConversionTests().adapter(of: tiny))
            let q4k = TensorEncoding.block(GGMLBlockFormat(name: "Q4_K")!)
            let unfit = try #require(throws: TransformError.self) { try narrow.write(to: folder + "/k.gguf", as: q4k) }
            #expect(unfit.description.contains("has no rows of whole blocks of 256 elements; types that fit: "))
            let directory = try #require(throws: TransformError.self) { try narrow.write(to: folder + "/d", as: q4k) }
            #expect(directory.description.contains("F32, F16 or BF16"))
            let twin = try ModelCheckpoint.open(fixture("tiny-llama"))
            let other = try #require(throws: TransformError.self) {
                try CheckpointMerge(base: twin, adapter: ConversionTests().adapter(of: twin)).write(
                    to: folder + "/x.gguf")
            }
            #expect(other.description.contains("tspeft convert"))
            #expect(try names(in: folder) == ["base.gguf", "out.gguf"])
        }
    }

    @Test func weightThatItsTypeCannotHoldIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try BlockModel.write(folder + "/base.gguf", .plain(.f16))
            let merge = try CheckpointMerge(base: base, adapter: BlockModel.adapter(size: 1e6))
            for type in ["F16", "Q4_0"] {
                let error = try #require(throws: TransformError.self) {
                    try merge.write(to: folder + "/out.gguf", as: TensorEncoding(writableName: type))
                }
                #expect(error.description.contains("tensor 'blk.0.") && error.exitStatus == .badData, "\(error)")
            }
            #expect(try names(in: folder) == ["base.gguf"])
        }
    }

    /// Base and sum both would be infinite there, so that the count of changes sees nothing.
    @Test func weightOfTheBaseThatAnotherTypeCannotHoldIsRefused() throws {
        try withTemporaryFolder { folder in
            let merges = [
                "out.gguf": try CheckpointMerge(
                    base: BlockModel.write(folder + "/base.gguf", .plain(.f32), size: 1e6),
                    adapter: BlockModel.adapter(size: 1)),
                "out": try CheckpointMerge(
                    base: ModelCheckpoint.open(makeBase(in: folder, size: 1e7)), adapter: goldenAdapter()),
            ]
            for (output, merge) in merges {
                let error = try #require(throws: TransformError.self) {
                    try merge.write(to: folder + "/" + output, as: .plain(.f16))
                }
                #expect(error.description.contains("too large for F16") && error.exitStatus == .badData, "\(error)")
            }
            #expect(try names(in: folder) == ["base", "base.gguf"])
        }
    }

    @Test func numberOf64BitsThatFloatsCannotHoldIsNamed() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/base.gguf"
            let name = BlockModel.wide[0].name + ".weight"
            // Row 5 of the file is another of Hugging Face's.
            let element = 5 * 256 + 1
            let model = try BlockModel.write(path, .plain(.f64))
            let place = try #require(model.record(of: name)).offset + element * MemoryLayout<Double>.size
            var file = try readFile(path)
            withUnsafeBytes(of: 1e300) { file.replaceSubrange(place..<place + $0.count, with: $0) }
            try writeFile(path, file)
            let merge = try CheckpointMerge(base: ModelCheckpoint.open(path), adapter: BlockModel.adapter(size: 1))
            for type in [TensorEncoding.plain(.bf16), .plain(.f32)] {
                let error = try #require(throws: TransformError.self) {
                    try merge.write(to: folder + "/out.gguf", as: type)
                }
                let words = "has the value 1e+300 at element \(element), which is too large for \(type)"
                #expect(error.description.contains(words), "\(error)")
            }
            #expect(try names(in: folder) == ["base.gguf"])
        }
    }

    @Test func partsOfASplitBaseAreJoined() throws {
        try withTemporaryFolder { folder in
            let split = try ModelCheckpoint.open(fixture("gguf/split-00003-of-00003.gguf"))
            let whole = try ModelCheckpoint.open(fixture("gguf/whole.gguf"))
            for (name, base) in [("split", split), ("whole", whole)] {
                _ = try CheckpointMerge(base: base, adapter: ConversionTests().adapter(of: base)).write(
                    to: folder + "/\(name).gguf")
            }
            let (one, two) = (try Checkpoint.open(folder + "/split.gguf"), try Checkpoint.open(folder + "/whole.gguf"))
            #expect(one.files.count == 1)
            #expect(one.metadata?.keys == two.metadata?.keys)
            for record in two.tensors { #expect(try bytes(one, record.name) == bytes(two, record.name)) }
        }
    }

    @Test func changedWeightsOfADirectoryCanHaveAnotherType() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: .bf16, shardCount: 2))
            let adapter = try goldenAdapter()
            let report = try CheckpointMerge(base: base, adapter: adapter).write(
                to: folder + "/merged", as: .plain(.f32))
            #expect(report.dtypes == ["F32"] && report.mergedCount == 15)
            let merged = try ModelCheckpoint.open(folder + "/merged")
            let weights = Set(adapter.modules.map { $0 + ".weight" })
            for record in merged.checkpoint.tensors {
                #expect(record.encoding == .plain(weights.contains(record.name) ? .f32 : .bf16))
                if !weights.contains(record.name) {
                    #expect(try bytes(merged.checkpoint, record.name) == bytes(base.checkpoint, record.name))
                }
            }
            let text = try readSmallFile(folder + "/merged/" + ShardIndex.fileName, limit: 1 << 20)
            let grown =
                merged.checkpoint.tensors.reduce(0) { $0 + $1.byteCount }
                - base.checkpoint.tensors.reduce(0) { $0 + $1.byteCount }
            #expect(try JSONValue.parse(text)["metadata"]?["total_size"]?.intValue == 1 + grown)
        }
    }
}

import Adapters
import CheckpointIO
import Foundation
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

@Suite struct CheckpointMergeTests {
    /// The exact merged weight of element (row, column) and the magnitude that float sums are relative to.
    func exact(
        _ adapter: AdapterDirectory, _ module: String, base: [Double], factor: Double = 1
    ) throws -> (values: [Double], magnitudes: [Double]) {
        let a = try #require(adapter.tensor(module, PEFTNames.loraA))
        let b = try #require(adapter.tensor(module, PEFTNames.loraB))
        let (rank, width) = (a.shape[0], a.shape[1])
        let scaling = Double(adapter.configuration.scaling(for: module)) * factor
        var values = base
        var magnitudes = base.map { abs($0) }
        for index in base.indices {
            let (row, column) = index.quotientAndRemainder(dividingBy: width)
            for k in 0..<rank {
                let product = scaling * Double(b.values[row * rank + k]) * Double(a.values[k * width + column])
                values[index] += product
                magnitudes[index] += abs(product)
            }
        }
        return (values, magnitudes)
    }

    /// Half a unit in the last place of a number of this size in a type.
    func halfUnit(_ value: Double, _ dtype: DType) -> Double {
        let fractionBits = [DType.f32: 23, .bf16: 7, .f16: 10, .f64: 52][dtype]!
        let smallest = dtype == .f16 ? -14 : -126
        let exponent = value == 0 ? smallest : max(Int(value.exponent), smallest)
        return Double(sign: .plus, exponent: exponent - fractionBits - 1, significand: 1)
    }

    @Test(arguments: [DType.f32, .bf16, .f16, .f64])
    func mergedWeightsAreOneRoundingFromTheExactSum(_ dtype: DType) throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: dtype))
            let adapter = try goldenAdapter()
            let report = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(report.mergedCount == 15)
            #expect(report.parts[0].modules.allSatisfy { $0.plan.expectedError == 0 && $0.plan.factor == 1 })
            var changed = 0
            var largest = 0.0
            for module in adapter.modules {
                let name = module + ".weight"
                let old = try doubles(base.checkpoint, name)
                let new = try doubles(merged.checkpoint, name)
                let (values, magnitudes) = try exact(adapter, module, base: old)
                var isExact = true
                for index in values.indices {
                    // The sum over the rank is made in float32 whatever the type.
                    let bound = halfUnit(values[index], dtype) * 1.001 + 8 * magnitudes[index] * 0x1p-24
                    isExact = isExact && abs(new[index] - values[index]) <= bound
                    if new[index] != old[index] { changed += 1 }
                    largest = max(largest, abs(new[index] - old[index]))
                }
                #expect(isExact)
                #expect(merged.record(of: name)?.encoding == .plain(dtype))
            }
            #expect(report.changedCount == changed)
            #expect(abs(Double(report.largestChange) - largest) <= 1e-6 * largest)
            #expect(report.dtypes == [dtype.rawValue])
        }
    }

    /// The path of a folder on a file system that can share blocks (XFS, btrfs); see `Tests/README.md`.
    static let sharingFolder = ProcessInfo.processInfo.environment["TSPEFT_SHARING_FOLDER"]

    @Test(.enabled(if: sharingFolder != nil, "needs TSPEFT_SHARING_FOLDER"))
    func shardsThatShareTheBasesBlocksHaveTheSameBytes() throws {
        let folder = try #require(Self.sharingFolder) + "/tspeft-test-\(getpid())"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = try makeBase(in: folder, dtype: .bf16, shardCount: 3)
        let mapping = try MappedFile.open(Checkpoint.open(path).files[0])
        #expect(try AtomicFileWriter(folder + "/clone").clone(mapping), "not a file system that shares blocks")
        let merge = try CheckpointMerge(base: ModelCheckpoint.open(path), adapter: goldenAdapter())
        _ = try merge.write(to: folder + "/shared")
        try withTemporaryFolder { other in
            _ = try merge.write(to: other + "/plain")
            for name in try names(in: other + "/plain") {
                #expect(try readFile(folder + "/shared/" + name) == readFile(other + "/plain/" + name), "\(name)")
            }
        }
    }

    @Test func everythingElseIsCopiedByteForByteInItsOrder() throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder, dtype: .bf16, shardCount: 3)
            let base = try ModelCheckpoint.open(path)
            let adapter = try goldenAdapter()
            var steps: [Int] = []
            let report = try CheckpointMerge(base: base, adapter: adapter).write(
                to: folder + "/merged", progress: { done, _ in steps.append(done) })
            #expect(steps == steps.sorted())
            #expect(steps.last == base.checkpoint.tensors.reduce(0) { $0 + $1.byteCount })
            let merged = try Checkpoint.open(folder + "/merged")
            #expect(merged.tensors == base.checkpoint.tensors, "names, shapes, types, files and offsets")
            #expect(report.tensorFiles.count == 3)
            let weights = Set(adapter.modules.map { $0 + ".weight" })
            for record in merged.tensors {
                let isSame = try bytes(merged, record.name) == bytes(base.checkpoint, record.name)
                #expect(isSame == !weights.contains(record.name), "\(record.name)")
            }
            for (index, file) in merged.files.enumerated() {
                let start = merged.tensors.filter { $0.fileIndex == index }.map(\.offset).min()!
                let old = try readSmallFile(base.checkpoint.files[index], limit: 1 << 24)
                #expect(try readSmallFile(file, limit: 1 << 24)[..<start] == old[..<start], "the header")
            }
            for name in ["config.json", "tokenizer.json", "notes with spaces.txt", "model.safetensors.index.json"] {
                #expect(
                    try readSmallFile(folder + "/merged/" + name, limit: 1 << 20)
                        == readSmallFile(path + "/" + name, limit: 1 << 20))
            }
            #expect(!pathExists(folder + "/merged/pytorch_model.bin"), "other weights would be stale")
            #expect(directoryEntries(folder).sorted() == ["base", "merged"])
        }
    }

    @Test func gatesScaleTheUpdateOrAreDropped() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder))
            let adapter = try goldenAdapter(gated: true, active: [0, 40, 100], base: try base.fingerprint())
            for gates in MergeGates.allCases {
                let report = try CheckpointMerge(base: base, adapter: adapter, gates: gates).write(
                    to: folder + "/" + gates.rawValue)
                let merged = try Checkpoint.open(folder + "/" + gates.rawValue)
                #expect(report.parts[0].neverFiring.count == 5)
                #expect(report.mergedCount == 10)
                #expect(report.parts[0].plan.source == "dev.json")
                for module in report.parts[0].modules {
                    let statistics = try #require(adapter.statistics?[module.plan.module])
                    let old = try doubles(base.checkpoint, module.plan.target)
                    let new = try doubles(merged, module.plan.target)
                    let c = gates == .drop ? 1 : statistics.sumActiveUpdateSquared / 20
                    if statistics.active == 0 {
                        let isUntouched = new == old
                        #expect(isUntouched && module.changedCount == 0)
                        #expect(module.plan.expectedError == 0)
                    } else {
                        let (values, magnitudes) = try exact(adapter, module.plan.module, base: old, factor: c)
                        let isExact = values.indices.allSatisfy {
                            abs(new[$0] - values[$0]) <= 12 * magnitudes[$0] * 0x1p-24
                        }
                        #expect(isExact)
                        let p = statistics.sumActiveUpdateSquared
                        let error = ((p * (1 - c) * (1 - c) + (20 - p) * c * c) / 1000).squareRoot()
                        #expect(abs(module.plan.expectedError - error) < 1e-9)
                    }
                }
            }
        }
    }

    @Test func mergeThatWouldChangeNothingIsRefusedAndLeavesNothing() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: .bf16))
            let closed = try goldenAdapter(gated: true, active: [0])
            let never = #expect(throws: TransformError.self) { try CheckpointMerge(base: base, adapter: closed) }
            #expect(never?.exitStatus == .badData)

            let dense = try goldenAdapter()
            func scaled(_ factor: Float) throws -> AdapterDirectory {
                try AdapterDirectory(
                    configuration: dense.configuration, modules: dense.modules,
                    tensors: dense.tensors.map { tensor in
                        let isB = tensor.name.hasSuffix(PEFTNames.loraB)
                        return AdapterTensor(tensor.name, tensor.shape, tensor.values.map { isB ? $0 * factor : $0 })
                    })
            }
            let zero = #expect(throws: TransformError.self) {
                try CheckpointMerge(base: base, adapter: try scaled(0))
            }
            #expect(zero?.description.contains("zero") == true)
            let merge = try CheckpointMerge(base: base, adapter: try scaled(1e-30))
            let lost = #expect(throws: TransformError.self) { try merge.write(to: folder + "/merged") }
            #expect(lost?.description.contains("rounding of BF16") == true)
            #expect(directoryEntries(folder) == ["base"])
        }
    }

    @Test func adapterOfAnotherBaseIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder))
            let other = try ModelCheckpoint.open(try makeBase(in: folder, dtype: .bf16, name: "other"))
            let adapter = try goldenAdapter(gated: true, base: try other.fingerprint())
            let error = #expect(throws: AdapterError.self) { try CheckpointMerge(base: base, adapter: adapter) }
            #expect(error?.exitStatus == .badData)
            #expect(error?.description.contains("BF16") == true)
        }
    }

    @Test func mergedCheckpointIsNoBaseForTheSameAdapter() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder))
            let unbound = try goldenAdapter()
            let report = try CheckpointMerge(base: base, adapter: unbound).write(to: folder + "/merged")
            #expect(report.mergedCount > 0)
            let merged = try ModelCheckpoint.open(folder + "/merged")
            let again = #expect(throws: TransformError.self) { try CheckpointMerge(base: merged, adapter: unbound) }
            #expect(again?.description.contains("already") == true)
            let bound = try goldenAdapter(gated: true, base: try base.fingerprint())
            #expect(throws: AdapterError.self) { try CheckpointMerge(base: merged, adapter: bound) }
        }
    }

    @Test func gatedAdapterWithoutStatisticsSaysWhatToRun() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder))
            var adapter = try goldenAdapter(gated: true)
            adapter.statistics = nil
            let error = #expect(throws: AdapterError.self) { try CheckpointMerge(base: base, adapter: adapter) }
            #expect(error?.description.contains("tspeft train") == true)
        }
    }

    @Test func existingOutputAndTheInputItselfAreSafe() throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder)
            let base = try ModelCheckpoint.open(path)
            let merge = try CheckpointMerge(base: base, adapter: try goldenAdapter())
            for replacing in [false, true] {
                #expect(throws: TransformError.outputIsInput(path: path)) {
                    try merge.write(to: path, replacing: replacing)
                }
            }
            #expect(throws: TransformError.outputIsInput(path: path + "/")) {
                try merge.write(to: path + "/", replacing: true)
            }
            try link(folder + "/alias", to: path)
            #expect(throws: TransformError.outputIsInput(path: folder + "/alias")) {
                try merge.write(to: folder + "/alias", replacing: true)
            }
            #expect(throws: TransformError.outputIsInput(path: folder)) {
                try merge.write(to: folder, replacing: true)
            }
            _ = try merge.write(to: folder + "/merged")
            #expect(throws: CheckpointError.outputExists(path: folder + "/merged")) {
                try merge.write(to: folder + "/merged")
            }
            _ = try merge.write(to: folder + "/merged", replacing: true)
            #expect(directoryEntries(folder) == ["alias", "base", "merged"])
        }
    }

    @Test func tiedHeadGetsATensorOfItsOwn() throws {
        for shardCount in [1, 2] {
            try withTemporaryFolder { folder in
                let base = try ModelCheckpoint.open(try makeBase(in: folder, shardCount: shardCount))
                #expect(try base.configuration.tiedEmbeddings)
                let (rows, width) = try (base.configuration.vocabularySize, base.configuration.hiddenSize)
                let adapter = try AdapterDirectory(
                    configuration: try AdapterConfiguration(
                        LoRASettings(rank: 1, alpha: 1), isGated: false, targets: .names(["lm_head"])),
                    modules: ["lm_head"],
                    tensors: [
                        AdapterTensor(
                            PEFTNames.key("lm_head", PEFTNames.loraA), [1, width], [Float](repeating: 0.5, count: width)
                        ),
                        AdapterTensor(
                            PEFTNames.key("lm_head", PEFTNames.loraB), [rows, 1], (0..<rows).map { Float($0) }),
                    ])
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/merged")
                let merged = try ModelCheckpoint.open(folder + "/merged")
                #expect(try !merged.configuration.tiedEmbeddings)
                #expect(merged.checkpoint.configuration?["tie_word_embeddings"] == .bool(false))
                let embedding = LlamaNames.embedding
                #expect(try bytes(merged.checkpoint, embedding) == bytes(base.checkpoint, embedding))
                let old = try base.floats(embedding)
                let head = try merged.floats("lm_head.weight")
                let isExact = head.indices.allSatisfy {
                    abs(head[$0] - (old[$0] + 0.5 * Float($0 / width))) <= 1e-5
                }
                #expect(isExact)
            }
        }
    }

    @Test func singleFileBaseKeepsItsName() throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder)
            guard rename(path + "/model.safetensors", path + "/other.safetensors") == 0 else { return }
            let base = try ModelCheckpoint.open(path + "/other.safetensors")
            let report = try CheckpointMerge(base: base, adapter: try goldenAdapter()).write(to: folder + "/merged")
            #expect(report.tensorFiles == ["other.safetensors"])
            #expect(try ModelCheckpoint.open(folder + "/merged").tensorNames == base.tensorNames)
            #expect(!pathExists(folder + "/merged/model.safetensors"))
        }
    }

    @Test func sumThatTheTypeCannotHoldIsRefused() throws {
        try withTemporaryFolder { folder in
            let base = try ModelCheckpoint.open(try makeBase(in: folder, dtype: .f16))
            let dense = try goldenAdapter()
            let huge = try AdapterDirectory(
                configuration: dense.configuration, modules: dense.modules,
                tensors: dense.tensors.map { AdapterTensor($0.name, $0.shape, $0.values.map { $0 * 1e4 }) })
            let merge = try CheckpointMerge(base: base, adapter: huge)
            let error = #expect(throws: TransformError.self) { try merge.write(to: folder + "/merged") }
            #expect(error?.description.contains("F16 cannot hold") == true)
            #expect(directoryEntries(folder) == ["base"])
        }
    }

    @Test(arguments: [TensorEncoding.plain(.f32), .plain(.bf16)])
    func wideNumberThatTheOutputCannotHoldIsNamed(_ type: TensorEncoding) throws {
        try withTemporaryFolder { folder in
            let path = try makeBase(in: folder, dtype: .f64)
            let adapter = try goldenAdapter()
            let name = adapter.modules[0] + ".weight"
            let place = try Checkpoint.open(path).requiredRecord(name).offset + 3 * MemoryLayout<Double>.size
            var bytes = try readFile(path + "/model.safetensors")
            withUnsafeBytes(of: 1e300) { bytes.replaceSubrange(place..<place + $0.count, with: $0) }
            try writeFile(path + "/model.safetensors", bytes)
            let merge = try CheckpointMerge(base: ModelCheckpoint.open(path), adapter: adapter)
            #expect(
                throws: TransformError.unusableTensor(
                    base: path, tensor: name,
                    reason: "has the value 1e+300 at element 3, which is too large for \(type)")
            ) { try merge.write(to: folder + "/merged", as: type) }
            #expect(try names(in: folder) == ["base"])
            // In its own type it stays what it is.
            _ = try merge.write(to: folder + "/merged")
            let merged = try ModelCheckpoint.open(folder + "/merged")
            #expect(try doubles(merged.checkpoint, name)[3] == 1e300)
        }
    }
}

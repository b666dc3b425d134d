import Adapters
import CheckpointIO
import Models
import TensorCore
import TestSupport
import Testing

@testable import Transforms

/// Merging a random adapter of every method into checkpoints of random names, shapes and types that no architecture has:
/// what is written is plain arithmetic in double but for roundings, and everything else stays bit for bit.
@Suite struct RandomMethodMergeTests {
    /// Products of the factors are added up in float, which rounds each by half of 2^-23 of what it is added to: so many
    /// of these, of the sum of all sizes, are allowed.
    private static let roundings = 16.0

    @Test(arguments: TreeAdapter.Method.allCases, 0..<32)
    func mergedTreeIsPlainArithmetic(_ method: TreeAdapter.Method, _ seed: Int) throws {
        // Every second tree has a bias at each layer, as `lora_bias` needs it.
        let tree = MethodTree(seed: UInt64(seed), hasBias: seed % 2 == 0 ? true : nil)
        let adapter = TreeAdapter(method, for: tree, seed: UInt64(seed))
        try withTemporaryFolder { folder in
            try tree.write(to: folder + "/base")
            try TreeFiles.writeAdapter(adapter.tensors, adapter.fields, to: folder + "/adapter")
            let base = try ModelCheckpoint.open(folder + "/base")
            let read = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
            let report = try CheckpointMerge(base: base, adapter: read).write(to: folder + "/out")
            #expect(report.account.adapterTensorCount == adapter.tensors.count)
            #expect(report.account.changedTensorCount == adapter.effects.count)
            try expect(folder + "/out", tree, adapter.effects)
        }
    }

    /// LoRAs, AdaLoRAs and VeRAs with weights of either sign.
    @Test(arguments: 0..<24) func sumOfAdaptersIsPlainArithmetic(_ seed: Int) throws {
        let tree = MethodTree(seed: UInt64(seed))
        var random = RandomNumbers(seed: UInt64(1000 + seed))
        let methods: [TreeAdapter.Method] = [.lora, .adalora, .vera]
        let adapters = (0..<random.number(in: 2...3)).map { place in
            TreeAdapter(random.pick(methods), for: tree, seed: random.next() &+ UInt64(place), isPlain: true)
        }
        let weights = adapters.map { _ in Double(random.number(in: 1...20) - 9) / 8 }.map { $0 == 0 ? 1 : $0 }
        var effects: NameTable<[TreeEffect]> = [:]
        for (adapter, weight) in zip(adapters, weights) {
            for (name, list) in adapter.effects { effects[name, default: []] += list.map { $0.multiplied(by: weight) } }
        }
        try withTemporaryFolder { folder in
            try tree.write(to: folder + "/base")
            let base = try ModelCheckpoint.open(folder + "/base")
            let weighted = try zip(adapters, weights).enumerated().map { place, entry in
                let path = "\(folder)/adapter\(place)"
                try TreeFiles.writeAdapter(entry.0.tensors, entry.0.fields, to: path)
                return WeightedAdapter(try AdapterDirectory.read(path, takingExtras: true), weight: entry.1)
            }
            _ = try CheckpointMerge(base: base, adapters: weighted).write(to: folder + "/out")
            try expect(folder + "/out", tree, effects)
        }
    }

    private func expect(_ path: String, _ tree: MethodTree, _ effects: NameTable<[TreeEffect]>) throws {
        let merged = try Checkpoint.open(path)
        #expect(merged.tensors.map(\.name) == tree.tensors.map(\.name))
        for tensor in tree.tensors {
            let record = try merged.requiredRecord(tensor.name)
            #expect(record.shape == tensor.shape && record.encoding == .plain(tensor.dtype), "\(tensor.name)")
            guard let own = effects[tensor.name] else {
                let isSame = try bytes(merged, tensor.name) == encoded(tensor.values, tensor.dtype)
                #expect(isSame, "\(tensor.name) is not the base's")
                continue
            }
            var sum = TreeSum(tensor)
            for effect in own { sum.apply(effect) }
            let found = try doubles(merged, tensor.name)
            let old = tensor.stored
            let worst = found.indices.reduce(0.0) { worst, index in
                let size = max(abs(sum.values[index]), abs(old[index]))
                let bound = unitInLastPlace(of: size, in: tensor.dtype) + Self.roundings * sum.sizes[index] * 0x1p-24
                return max(worst, abs(found[index] - sum.values[index]) / bound)
            }
            #expect(worst <= 1, "\(tensor.name) \(tensor.shape) \(tensor.dtype): \(worst)")
        }
    }

    /// A bottleneck is not linear: no weight holds it, dense or gated, whatever else the adapter has.
    @Test(arguments: 0..<6) func bottleneckIsRefusedByName(_ seed: Int) throws {
        let tree = MethodTree(seed: UInt64(seed))
        let size = seed % 3 + 1
        let tensors = tree.targeted.flatMap { layer in
            [("down", [size, layer.columns]), ("up", [layer.rows, size])].map { part, shape in
                TreeTensor(
                    name: "base_model.model.\(layer.path).adapter_\(part).weight", shape: shape,
                    values: randomValues(shape.reduce(1, *), seed: UInt64(seed)))
            }
        }
        let error = refusal(
            of: tensors,
            [
                "peft_type": .string("BOTTLENECK"), "bottleneck_size": .integer(size),
                "target_modules": .array(tree.targets.map { .string($0) }),
            ], in: tree)
        #expect(error?.exitStatus == .unsupported)
        #expect(
            error?.description.contains("a parallel adapter is not linear in x") == true, "\(error?.description ?? "")")
    }

    /// Everything else that peft 0.21 writes.
    @Test(arguments: [
        "ADAPTION_PROMPT", "BOFT", "BONE", "C3A", "CPT", "DELORA", "FOURIERFT", "GRALORA", "HRA", "LN_TUNING", "LOHA",
        "LOKR", "MISS", "MULTITASK_PROMPT_TUNING", "OFT", "OSF", "POLY", "PREFIX_TUNING", "PROMPT_TUNING", "PSOFT",
        "P_TUNING",
        "RANDLORA", "ROAD", "SHIRA", "TRAINABLE_TOKENS", "VBLORA", "WAVEFT", "XLORA",
    ])
    func methodThatIsNotKnownIsRefusedByName(_ type: String) throws {
        let tree = MethodTree(seed: 3)
        let tensor = TreeTensor(name: "base_model.model.\(tree.layers[0].path).some_factor", shape: [1], values: [1])
        let error = refusal(
            of: [tensor],
            ["peft_type": .string(type), "r": .integer(2), "target_modules": .array(tree.targets.map { .string($0) })],
            in: tree)
        #expect(error?.exitStatus == .unsupported)
        #expect(error?.description.contains("'\(type)'") == true, "\(error?.description ?? "")")
    }

    private func refusal(
        of tensors: [TreeTensor], _ fields: JSONObject, in tree: MethodTree
    ) -> (any ReportableError)? {
        let thrown = #expect(throws: (any Error).self) {
            try withTemporaryFolder { folder in
                try tree.write(to: folder + "/base")
                try TreeFiles.writeAdapter(tensors, fields, to: folder + "/adapter")
                let base = try ModelCheckpoint.open(folder + "/base")
                defer { #expect(pathKind(folder + "/out") == .nothing) }
                let adapter = try AdapterDirectory.read(folder + "/adapter", takingExtras: true)
                _ = try CheckpointMerge(base: base, adapter: adapter).write(to: folder + "/out")
            }
        }
        return thrown as? any ReportableError
    }
}

extension TreeEffect {
    /// So many times what is added.
    func multiplied(by factor: Double) -> TreeEffect {
        guard case .added(let sums, let size) = self else { preconditionFailure("only what is added takes a weight") }
        return .added(sums.map { factor * $0 }, size: size.map { abs(factor) * $0 })
    }
}

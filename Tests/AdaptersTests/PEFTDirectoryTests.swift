import Adapters
import CheckpointIO
import Compute
import Foundation
import ModelTestSupport
import Models
import TensorCore
import TestSupport
import Testing

/// Adapter directories that peft wrote, read here, against the logits that peft computes with them.
/// `Tests/Scripts/make_peft_fixtures.py` made them.
@Suite struct PEFTDirectoryTests {
    static let folder = fixture("peft")
    static let base = folder + "/model"
    /// Directories without what a reader needs.
    static let refused: Set<String> = ["vera-unsaved"]
    static let adapters = ((try? names(in: folder)) ?? []).filter {
        pathExists(folder + "/\($0)/" + PEFTNames.configurationFile) && !refused.contains($0)
    }
    /// Two float32 programs over three layers, as a part of the largest logit.
    private static let tolerance = 2e-6

    /// A tensor of expected.safetensors.
    private static func expected(_ name: String) throws -> [Float] {
        let file = try SafetensorsFile.open(folder + "/expected.safetensors")
        return try file.floats(of: try file.requiredRecord(name))
    }

    static func tokens() throws -> [Int32] {
        let file = try SafetensorsFile.open(folder + "/expected.safetensors")
        return try file.withBytes(of: try file.requiredRecord("tokens")) { bytes in
            (0..<bytes.count / 8).map { Int32(bytes.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
        }
    }

    /// The logits of the base with the adapter of a directory.
    static func logits(_ directory: AdapterDirectory) throws -> [Float] {
        let checkpoint = try ModelCheckpoint.open(base)
        let model = try checkpoint.makeModel(ComputeContext(dtype: .f32, threadCount: 1))
        let checked = try directory.validated(against: checkpoint.linearModules)
        _ = try InjectedAdapter(
            into: model, checked.configuration, tensors: checked.allTensors, thresholds: checked.thresholds,
            source: checked.displayName)
        return try AdaptedModel.logits(model, [try tokens()])
    }

    @Test func fixturesAreThere() { #expect(Self.adapters.count >= 20) }

    @Test(arguments: adapters) func adapterComputesWhatPeftComputes(_ name: String) throws {
        let found = try Self.logits(try AdapterDirectory.read(Self.folder + "/" + name))
        #expect(relativeError(found, try Self.expected(name)) < Self.tolerance)
    }

    /// Every field that peft wrote is understood or carried along, and comes back as it was; `save_projection` and the
    /// kept ranks too.
    @Test(arguments: adapters) func rewrittenAdapterHasPeftsTensorsAndConfiguration(_ name: String) throws {
        let read = try AdapterDirectory.read(Self.folder + "/" + name)
        try withTemporaryFolder { folder in
            try read.write(to: folder + "/again")
            let again = try AdapterDirectory.read(folder + "/again")
            #expect(Self.meaning(again.configuration.json) == Self.meaning(read.configuration.json))
            let left = try SafetensorsFile.open(Self.folder + "/\(name)/" + PEFTNames.tensorFile)
            let right = try SafetensorsFile.open(folder + "/again/" + PEFTNames.tensorFile)
            #expect(Set(left.tensors.map(\.name)) == Set(right.tensors.map(\.name)))
            for record in left.tensors {
                let other = try right.requiredRecord(record.name)
                #expect(other.shape == record.shape)
                let (found, wanted) = (try right.floats(of: other), try left.floats(of: record))
                #expect(zip(found, wanted).allSatisfy { $0.bitPattern == $1.bitPattern }, "\(record.name)")
            }
            let before = try configuration(Self.folder + "/" + name)
            let after = try configuration(folder + "/again")
            for (field, value) in before.members {
                let new = after[field] ?? .null
                #expect(
                    Self.meaning(new) == Self.meaning(value), "\(field): \(value.text()) became \(new.text())")
            }
        }
    }

    private func configuration(_ directory: String) throws -> JSONObject {
        let value = try JSONValue.parse(readFile(directory + "/" + PEFTNames.configurationFile))
        return try #require(value.objectValue)
    }

    /// A value in the one form of those that peft takes for the same: nothing for what is empty, a list for its only
    /// element, sorted keys.
    private static func meaning(_ value: JSONValue) -> JSONValue {
        switch value {
        case .bool(false): return .null
        case .string(let text): return text.isEmpty ? .null : .array([value])
        case .number: return .array([value.doubleValue.map { .real($0) } ?? value])
        case .array(let elements):
            return elements.isEmpty
                ? .null
                : .array(
                    elements.flatMap { element in
                        meaning(element).arrayValue ?? [meaning(element)]
                    })
        case .object(let object):
            var sorted = JSONObject()
            for key in object.keys.sorted() { sorted[key] = meaning(object[key]!) }
            return sorted.count == 0 ? .null : .object(sorted)
        default: return value
        }
    }

    /// Half precision is widened, which loses nothing.
    @Test func halfPrecisionTensorsAreRead() throws {
        let file = try SafetensorsFile.open(Self.folder + "/lora-bf16/" + PEFTNames.tensorFile)
        #expect(file.tensors.allSatisfy { $0.encoding == .plain(.bf16) })
    }

    @Test func unsavedProjectionsAreRefused() throws {
        let error = #expect(throws: AdapterError.self) {
            try AdapterDirectory.read(Self.folder + "/vera-unsaved")
        }
        #expect(error?.exitStatus == .unsupported)
        #expect(error?.description.contains("save_projection=True") == true)
    }

    /// peft gave a module no rank at all, and others more than one.
    @Test func ranksThatAdaLoRATookAreGone() throws {
        let adapter = try AdapterDirectory.read(Self.folder + "/adalora")
        let ranks = adapter.modules.compactMap { adapter.configuration.rank(for: $0) }
        #expect(ranks.contains(0) && ranks.contains { $0 > 1 })
        for (module, rank) in zip(adapter.modules, ranks) {
            #expect(adapter.tensor(module, PEFTNames.adaLoRAE)?.shape == [rank, 1])
        }
        let first = adapter.modules[0]
        #expect(adapter.configuration.scaling(for: first) == Float(6 / (4 + 1e-5)))
    }
}

/// Keys and modules that are not quite what peft writes today.
@Suite struct PEFTKeyTests {
    private static let folder = fixture("peft")

    /// Copies a fixture's directory with other keys and configuration.
    private func rewritten(
        _ name: String, in folder: String, keys: KeyChange? = nil,
        adding extra: [(name: String, shape: [Int])] = [],
        configuration: (inout JSONObject) -> Void = { _ in }
    ) throws -> AdapterDirectory {
        let source = Self.folder + "/" + name
        let path = folder + "/\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        var object = try #require(
            try JSONValue.parse(readFile(source + "/" + PEFTNames.configurationFile)).objectValue)
        configuration(&object)
        try writeFile(path + "/" + PEFTNames.configurationFile, JSONValue.object(object).text())
        let file = try SafetensorsFile.open(source + "/" + PEFTNames.tensorFile)
        var tensors = try file.tensors.compactMap { record in
            try (keys.map { $0.change(record.name) } ?? record.name).map {
                ($0, record.shape, try file.floats(of: record))
            }
        }
        tensors += extra.map {
            (name: $0.name, shape: $0.shape, values: [Float](repeating: 0.5, count: $0.shape.reduce(1, *)))
        }
        try SafetensorsWriter.write(tensors, to: path + "/" + PEFTNames.tensorFile)
        return try AdapterDirectory.read(path)
    }

    private func expectSame(_ adapter: AdapterDirectory, _ name: String) throws {
        let original = try AdapterDirectory.read(Self.folder + "/" + name)
        #expect(adapter.modules == original.modules)
        #expect(try PEFTDirectoryTests.logits(adapter) == PEFTDirectoryTests.logits(original))
    }

    /// What becomes of a key; nil leaves its tensor out.
    private struct KeyChange {
        let change: (String) -> String?
    }

    private func replacing(_ old: String, _ new: String) -> KeyChange {
        KeyChange { $0.replacingOccurrences(of: old, with: new, options: .regularExpression) }
    }

    private func without(_ part: String) -> KeyChange { KeyChange { $0.contains(part) ? nil : $0 } }

    /// A raw state dict has the adapter's name in its keys; peft loads it.
    @Test func adapterNameInKeysIsLeftOut() throws {
        try withTemporaryFolder { folder in
            for name in ["lora", "lora-bias", "dora"] {
                let keys = replacing(#"(lora_[AB])\.(weight|bias)$"#, "$1.default.$2")
                try expectSame(try rewritten(name, in: folder, keys: keys), name)
            }
            let parameters = replacing("(lora_[ABE]|lambda_[bd]|vera_[AB])$", "$1.default")
            for name in ["adalora", "vera"] {
                let adapter = try rewritten(name, in: folder, keys: parameters) { configuration in
                    guard let pattern = configuration["rank_pattern"]?.objectValue else { return }
                    var named = JSONObject()
                    for (key, value) in pattern.members { named[key + ".default"] = value }
                    configuration["rank_pattern"] = .object(named)
                }
                try expectSame(adapter, name)
            }
            let whole = replacing(#"lm_head\.weight$"#, "lm_head.modules_to_save.default.weight")
            try expectSame(try rewritten("saved-modules", in: folder, keys: whole), "saved-modules")
        }
    }

    @Test func doRAsMagnitudeIsReadByItsThreeNames() throws {
        try withTemporaryFolder { folder in
            for name in ["weight", "default", "default.weight"] {
                let keys = replacing("lora_magnitude_vector$", "lora_magnitude_vector.\(name)")
                try expectSame(try rewritten("dora", in: folder, keys: keys), "dora")
            }
        }
    }

    /// Of a model that was wrapped twice, and of adapters that transformers saved without peft's wrapper.
    @Test func prefixMayStandTwiceOrNotAtAll() throws {
        try withTemporaryFolder { folder in
            for prefix in ["base_model.model.base_model.model.", ""] {
                let keys = replacing(#"^base_model\.model\."#, prefix)
                try expectSame(try rewritten("lora", in: folder, keys: keys), "lora")
            }
        }
    }

    /// Of the language model inside a model of images and text, by transformers' older and newer names.
    @Test func languageModelsAdapterFitsItsLlama() throws {
        try withTemporaryFolder { folder in
            for path in ["language_model.model.", "model.language_model."] {
                let keys = replacing(#"^base_model\.model\.model\."#, "base_model.model." + path)
                try expectSameLogits(try rewritten("lora", in: folder, keys: keys), "lora")
                let patterns = try rewritten("patterns", in: folder, keys: keys) { configuration in
                    var named = JSONObject()
                    for (key, value) in configuration["alpha_pattern"]!.objectValue!.members {
                        named[key.replacingOccurrences(of: "model.layers.", with: path + "layers.")] = value
                    }
                    configuration["alpha_pattern"] = .object(named)
                    configuration["target_modules"] = .string(".*language_model.*([qk]_proj|up_proj)")
                }
                try expectSameLogits(patterns, "patterns")
            }
        }
    }

    private func expectSameLogits(_ adapter: AdapterDirectory, _ name: String) throws {
        let original = try AdapterDirectory.read(Self.folder + "/" + name)
        #expect(try PEFTDirectoryTests.logits(adapter) == PEFTDirectoryTests.logits(original))
    }

    private func expectRefusal(
        _ status: TensorCore.ExitStatus, naming text: String, _ body: () throws -> AdapterDirectory
    ) {
        let error = #expect(throws: AdapterError.self) { _ = try PEFTDirectoryTests.logits(try body()) }
        #expect(error?.exitStatus == status)
        #expect(error?.description.contains(text) == true, "\(error?.description ?? "")")
    }

    @Test func tensorOfNoMethodIsRefusedByName() throws {
        try withTemporaryFolder { folder in
            let extra = "base_model.model.model.embed_tokens.lora_embedding_A"
            expectRefusal(.unsupported, naming: extra) {
                try rewritten("lora", in: folder, adding: [(extra, [3, 61])])
            }
            expectRefusal(.unsupported, naming: "lora_A.other.weight") {
                try rewritten("lora", in: folder, keys: replacing(#"lora_A\.weight$"#, "lora_A.other.weight"))
            }
        }
    }

    @Test func tensorThatIsThereUnderTwoNamesIsRefused() throws {
        try withTemporaryFolder { folder in
            let key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A"
            expectRefusal(.badData, naming: "is there twice") {
                try rewritten("lora", in: folder, adding: [(key + ".default.weight", [3, 24])])
            }
        }
    }

    /// peft drops them without a word.
    @Test func tensorsBesideTheTargetsAreRefused() throws {
        try withTemporaryFolder { folder in
            expectRefusal(.badData, naming: "model.layers.0.self_attn.v_proj") {
                try rewritten("lora", in: folder) { $0["target_modules"] = .array([.string("q_proj")]) }
            }
            expectRefusal(.badData, naming: "model.layers.1.self_attn.q_proj") {
                try rewritten("lora", in: folder) { $0["layers_to_transform"] = .array([.integer(0), .integer(2)]) }
            }
        }
    }

    /// peft leaves the module untrained, with a warning.
    @Test func targetsWithoutTensorsAreRefused() throws {
        try withTemporaryFolder { folder in
            expectRefusal(.badData, naming: "model.layers.2.self_attn.v_proj") {
                try rewritten("lora", in: folder, keys: without("layers.2.self_attn.v_proj"))
            }
            expectRefusal(.badData, naming: "model.layers.0.mlp.up_proj") {
                try rewritten("lora", in: folder) {
                    $0["target_modules"] = .array(["q_proj", "v_proj", "up_proj"].map { .string($0) })
                }
            }
        }
    }

    /// As in peft, one target among several may match nothing.
    @Test func targetOfAnotherArchitectureIsNoMistake() throws {
        try withTemporaryFolder { folder in
            let adapter = try rewritten("lora", in: folder) {
                $0["target_modules"] = .array(["q_proj", "v_proj", "query_key_value"].map { .string($0) })
            }
            try expectSame(adapter, "lora")
        }
    }

    @Test func missingMagnitudeIsRefused() throws {
        try withTemporaryFolder { folder in
            expectRefusal(.badData, naming: "model.layers.0.mlp.down_proj.lora_magnitude_vector") {
                try rewritten("dora", in: folder, keys: without("down_proj.lora_mag"))
            }
        }
    }

    /// A magnitude in an adapter that does not say use_dora: run as LoRA it would be another adapter.
    @Test func magnitudeWithoutUseDoRAIsRefused() throws {
        try withTemporaryFolder { folder in
            expectRefusal(.unsupported, naming: "lora_magnitude_vector") {
                try rewritten("dora", in: folder) { $0["use_dora"] = .bool(false) }
            }
        }
    }

    @Test func rankPatternThatTheTensorsContradictIsRefused() throws {
        try withTemporaryFolder { folder in
            expectRefusal(.badData, naming: "lora_A.weight") {
                try rewritten("patterns", in: folder) { $0["rank_pattern"] = .object([:]) }
            }
        }
    }

    @Test func adapterOfAnotherBaseIsRefused() throws {
        let adapter = try AdapterDirectory.read(Self.folder + "/lora")
        let other = try ModelCheckpoint.open(AdaptedModel.randomModel)
        let error = #expect(throws: AdapterError.self) { _ = try adapter.validated(against: other.linearModules) }
        #expect(error?.exitStatus == .badData)
        // The same sizes and one layer more, or less.
        let modules = try ModelCheckpoint.open(PEFTDirectoryTests.base).linearModules
        let deeper =
            modules
            + modules.filter { $0.path.contains("layers.2.") }.map {
                LinearModule(
                    path: $0.path.replacingOccurrences(of: "layers.2.", with: "layers.3."), outputSize: $0.outputSize,
                    inputSize: $0.inputSize)
            }
        #expect(
            throws: AdapterError.modulesWithoutTensors(
                adapter: adapter.displayName, count: 2, first: "model.layers.3.self_attn.q_proj", found: 6)
        ) { _ = try adapter.validated(against: deeper) }
        #expect(throws: AdapterError.self) {
            _ = try adapter.validated(against: modules.filter { !$0.path.contains("layers.2.") })
        }
    }

    /// Fields that change what an adapter computes, and one of a peft to come.
    @Test(arguments: [
        ("use_qalora", JSONValue.bool(true)), ("bias", .string("all")),
        ("alora_invocation_tokens", .array([.integer(1)])), ("init_lora_weights", .string("pissa")),
        ("layer_replication", .array([.array([.integer(0), .integer(2)])])),
        ("trainable_token_indices", .array([.integer(3)])), ("a_field_to_come", .string("on")),
    ])
    func fieldThatChangesTheResultIsRefusedByName(_ field: String, _ value: JSONValue) throws {
        try withTemporaryFolder { folder in
            expectRefusal(.unsupported, naming: "'\(field)'") {
                try rewritten("lora", in: folder) { $0[field] = value }
            }
        }
    }

    @Test func inertFieldOfAPeftToComeIsCarriedAlong() throws {
        try withTemporaryFolder { folder in
            let adapter = try rewritten("lora", in: folder) { $0["a_field_to_come"] = .bool(false) }
            #expect(adapter.configuration.json["a_field_to_come"] == .bool(false))
        }
    }
}

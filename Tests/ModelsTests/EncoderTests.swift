import CheckpointIO
import Compute
import Foundation
import Models
import TensorCore
import TestSupport
import Testing

/// What must hold of every encoder of the table, and of heads for sequences.
@Suite struct EncoderTests {
    private static let encoders = ArchitectureTable.all.filter { $0.names.isEncoder }
    private static let golden = ["bert", "roberta", "modernbert", "deberta"]

    private static func configuration(_ name: String) throws -> JSONObject {
        let text = try readSmallFile(fixture("golden/\(name)-lora/model/config.json"), limit: 1 << 16)
        return try #require(JSONValue.parse(text).objectValue)
    }

    private static func read(_ members: JSONObject, as task: SequenceTask? = nil) throws -> any Architecture {
        try ArchitectureTable.read(configuration: .object(members), file: "config.json", as: task)
    }

    @Test func everyEncoderHasACase() { #expect(Self.encoders.count == Self.golden.count) }

    @Test(arguments: golden) func whatIsWrittenReadsBackTheSame(_ name: String) throws {
        let architecture = try Self.read(Self.configuration(name))
        let written = WrittenFields(of: architecture).json
        let again = try Self.read(written)
        #expect(again.configuration == architecture.configuration)
        #expect(WrittenFields(of: again).json == written)
        #expect(architecture.ggufProblem != nil)
    }

    /// A base with another head, or none, is known with a head that is asked for, and not without.
    @Test(arguments: golden) func basesAreKnownWithAHeadAlone(_ name: String) throws {
        var members = try Self.configuration(name)
        for className in ["SomeForMaskedLM", "SomeModel"] {
            members["architectures"] = .array([.string(className)])
            let model = try Self.read(members, as: SequenceTask(classes: ["no", "yes"]))
            #expect(model.configuration.task?.labels == ["no", "yes"])
            #expect(throws: ModelError.self) { try Self.read(members) }
        }
        members["architectures"] = .array([.string("LlamaForCausalLM")])
        #expect(throws: ModelError.self) { try Self.read(members, as: .regression) }
    }

    @Test func tasksAreReadAsTransformersReadsThem() throws {
        var members = try Self.configuration("bert")
        #expect(try Self.read(members).configuration.task == SequenceTask(classCount: 3))
        members["id2label"] = .object(["1": .string("yes"), "0": .string("no")])
        #expect(try Self.read(members).configuration.task == SequenceTask(classes: ["no", "yes"]))
        members["id2label"] = .object(["0": .string("LABEL_0")])
        #expect(try Self.read(members).configuration.task == .regression)
        members["id2label"] = nil
        #expect(try Self.read(members).configuration.task == SequenceTask(classCount: 2))
        for (key, value) in [
            ("problem_type", JSONValue.string("multi_label_classification")), ("problem_type", .string("regression")),
            ("id2label", .object(["3": .string("a")])),
        ] {
            var changed = members
            changed[key] = value
            let error = try #require(throws: ModelError.self) { try Self.read(changed) }
            #expect(error.description.contains(key), "\(error)")
        }
    }

    @Test(arguments: [
        ("bert", "hidden_act", JSONValue.string("mish")), ("bert", "is_decoder", .bool(true)),
        ("bert", "position_embedding_type", .string("relative_key")), ("bert", "hidden_dropout_prob", .integer(1)),
        ("roberta", "quantization_config", .object(["quant_method": .string("gptq")])),
        ("modernbert", "norm_bias", .bool(true)), ("modernbert", "classifier_pooling", .string("max")),
        ("deberta", "conv_kernel_size", .integer(3)), ("deberta", "share_att_key", .bool(false)),
        ("deberta", "pos_att_type", .array([.string("p2p")])), ("deberta", "embedding_size", .integer(24)),
    ])
    func whatTheGraphCannotDoIsRefusedByName(_ name: String, _ key: String, _ value: JSONValue) throws {
        var members = try Self.configuration(name)
        members[key] = value
        let error = try #require(throws: ModelError.self) { try Self.read(members) }
        #expect(error.description.contains(key), "\(error)")
    }

    // MARK: Heads

    /// The head's tensors put into training as they are in another checkpoint.
    private static func takeHead(of source: ModelCheckpoint, into model: any Model) throws {
        for tensor in model.tensors.head {
            let value = model.context.tensor(tensor.shape, .f32)
            value.copy(from: try source.floats(tensor.name))
            model.train(tensor, TrainableWeight(value, model.context))
        }
    }

    private static func scores(_ model: any Model, _ tokens: [Int32], lengths: [Int]) throws -> [Float] {
        let pass = Pass(Tape(model.context, isRecording: false))
        return try model.scores(tokens, TokenLayout(lengths: lengths), in: pass).value.toArray()
    }

    /// Names without the prefix, and norms by their older names: the same model with a head from elsewhere.
    @Test(arguments: golden) func bareModelsGoByTheNamesBesideAHead(_ name: String) throws {
        try withTemporaryFolder { folder in
            let whole = try ModelCheckpoint.open(fixture("golden/\(name)-lora/model"))
            let prefix = ["bert": "bert.", "roberta": "roberta.", "deberta": "deberta.", "modernbert": "model."][name]!
            let tensors = try whole.tensorNames.filter { $0.hasPrefix(prefix) }.map { name in
                let bare = String(name.dropFirst(prefix.count))
                    .replacingOccurrences(of: "LayerNorm.weight", with: "LayerNorm.gamma")
                    .replacingOccurrences(of: "LayerNorm.bias", with: "LayerNorm.beta")
                return (bare, whole.shape(of: name)!, try whole.floats(name))
            }
            try SafetensorsWriter.write(tensors, to: folder + "/model.safetensors")
            var members = try Self.configuration(name)
            members["architectures"] = .array([.string("SomeModel")])
            try writeFile(folder + "/config.json", JSONValue.object(members).text())

            let bare = try ModelCheckpoint.open(folder, as: SequenceTask(classCount: 3))
            #expect(bare.linearModules.map(\.path) == whole.linearModules.map(\.path))
            #expect(!bare.contains("classifier.weight"))
            #expect(try bare.fingerprint() == ModelCheckpoint.open(folder).fingerprint())
            let context = ComputeContext(dtype: .f32)
            let tokens: [Int32] = [5, 17, 33, 2, 9, 80, 4]
            let expected = try Self.scores(whole.makeModel(context), tokens, lengths: [4, 3])
            let model = try bare.makeModel(context)
            #expect(throws: ModelError.self) { try Self.scores(model, tokens, lengths: [4, 3]) }
            try Self.takeHead(of: whole, into: model)
            #expect(try Self.scores(model, tokens, lengths: [4, 3]) == expected)
            let limit = model.configuration.maximumPositions
            let long = [Int32](repeating: 5, count: limit + 1)
            #expect(throws: ModelError.self) { try Self.scores(model, long, lengths: [limit + 1]) }
        }
    }

    /// Every place of dropout drops, with the same mask forth and back: the gradient of the embedding is that of
    /// differences through the whole model.
    @Test(arguments: golden) func gradientsPassBackThroughDropout(_ name: String) throws {
        try withTemporaryFolder { folder in
            let source = try ModelCheckpoint.open(fixture("golden/\(name)-lora/model"))
            let tensors = try source.tensorNames.map { ($0, source.shape(of: $0)!, try source.floats($0)) }
            try SafetensorsWriter.write(tensors, to: folder + "/model.safetensors")
            var members = try Self.configuration(name)
            let keys =
                name == "modernbert"
                ? ["embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"]
                : ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"]
                    + (name == "deberta" ? ["pooler_dropout", "cls_dropout"] : [])
            for key in keys { members[key] = .number("0.2") }
            try writeFile(folder + "/config.json", JSONValue.object(members).text())

            let context = ComputeContext(dtype: .f32)
            let checkpoint = try ModelCheckpoint.open(folder)
            let model = try checkpoint.makeModel(context)
            let embedding = try #require(model.tensors.embedding)
            let values = try checkpoint.floats(embedding.name)
            let table = context.tensor(embedding.shape, .f32)
            table.copy(from: values)
            let weight = TrainableWeight(table, context)
            model.train(embedding, weight)
            func loss(_ values: [Float], _ masks: RandomStream?, records: Bool = false) throws -> Double {
                weight.value.copy(from: values)
                weight.refresh()
                let pass = Pass(Tape(context, isRecording: records), dropout: masks)
                let sum = try SequenceClasses().losses(
                    [5, 17, 33, 2, 9, 80, 4, 5], TokenLayout(lengths: [5, 3]), Labels(rows: [0, 1], .ids([2, 0])),
                    model,
                    in: pass
                ).sum
                pass.tape.runBackward()
                return sum
            }
            let masks = RandomStream(seed: 3)
            let dropped = try loss(values, masks, records: true)
            #expect(try dropped == loss(values, masks) && dropped != loss(values, nil))
            let gradient = weight.gradient.toArray()
            #expect(gradient.contains { $0 != 0 })
            // Every 11th number of the rows of tokens that occur.
            let places = [5, 17, 33, 2, 9, 80, 4].flatMap { row in stride(from: row * 48, to: row * 48 + 48, by: 11) }
            let largest = gradient.reduce(0) { max($0, abs($1)) }
            for place in places {
                var (up, down) = (values, values)
                up[place] += 0.004
                down[place] -= 0.004
                let slope = try (loss(up, masks) - loss(down, masks)) / Double(up[place] - down[place])
                #expect(abs(slope - Double(gradient[place])) < 5e-3 * Double(largest), "\(name), \(place)")
            }
        }
    }

    /// A decoder's head reads the last token that is not the padding token.
    @Test func decodersReadTheLastTokenThatIsNoPadding() throws {
        let base = try ModelCheckpoint.open(fixture("golden/qwen3-lora/model"), as: SequenceTask(classCount: 2))
        let context = ComputeContext(dtype: .f32)
        let model = try base.makeModel(context)
        #expect(model.head == nil && base.specifications.headNames == ["score"])
        let error = try #require(throws: ModelError.self) { try Self.scores(model, [5, 6], lengths: [2]) }
        #expect(error.description.contains("score.weight"), "\(error)")
        for tensor in model.tensors.head {
            let value = context.tensor(tensor.shape, .f32)
            value.copy(from: randomValues(value.count, seed: 5))
            model.train(tensor, TrainableWeight(value, context))
        }
        let padding = try #require(model.configuration.padTokenID)
        let plain = try Self.scores(model, [5, 6, 7], lengths: [3])
        let filled = try Self.scores(model, [5, 6, 7, Int32(padding), Int32(padding), 9], lengths: [5, 1])
        // Five rows are multiplied otherwise than three.
        #expect(zip(filled, plain).allSatisfy { abs($0 - $1) < 1e-5 * max(1, abs($1)) })
    }
}

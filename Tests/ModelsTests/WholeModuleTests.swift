import CheckpointIO
import Compute
import Models
import TensorCore
import TestSupport
import Testing

/// Llamas whose output head or embedding is trained whole.
@Suite struct WholeModuleTests {
    private static let tokens: [Int32] = [3, 9, 0, 1, 7, 7, 2, 5, 8, 4, 3]
    /// Single precision and differences through two layers; a wrong term shows as 1e-2 or more.
    private static let gradientTolerance = 2e-3

    /// An untied Llama of small random numbers.
    private static func untied() -> SmallModel {
        var model = SmallModel()
        for index in model.tensors.indices {
            model.tensors[index].values = randomValues(
                model.tensors[index].values.count, seed: UInt64(index + 1), in: -0.7...0.7)
        }
        return model
    }

    private static func load(_ small: SmallModel, _ context: ComputeContext) throws -> any Model {
        try withTemporaryFolder { folder in
            try small.write(to: folder)
            return try ModelCheckpoint.open(folder).makeModel(context)
        }
    }

    private static func weight(_ values: [Float], _ context: ComputeContext) -> TrainableWeight {
        let tensor = context.tensor([10, values.count / 10], .f32)
        tensor.copy(from: values)
        return TrainableWeight(tensor, context)
    }

    /// The loss of every token's successor, summed, and one backward pass on a recording tape.
    private func loss(_ model: any Model, recording: Bool = false) throws -> Double {
        let tape = Tape(model.context, isRecording: recording)
        let hidden = try model.forward(Self.tokens, TokenLayout(lengths: [6, 5]), in: Pass(tape))
        let rows: [Int32] = [0, 1, 2, 3, 4, 6, 7, 8, 9]
        let losses = tape.crossEntropy(
            hidden, head: model.head!, rows: rows, targets: rows.map { Self.tokens[Int($0) + 1] },
            training: model.trainedHead)
        tape.runBackward()
        return losses.sum
    }

    private func logits(_ model: any Model, _ cache: KeyValueCache? = nil) throws -> [Float] {
        let tape = Tape(model.context, isRecording: false)
        let hidden = try model.forward(
            Self.tokens, TokenLayout(lengths: [Self.tokens.count]), in: Pass(tape), cache: cache)
        return tape.logits(hidden, head: model.head!, rows: Self.tokens.indices.map(Int32.init)).toArray()
    }

    @Test(arguments: WholeModule.allCases) func gradientIsThatOfDifferences(module: WholeModule) throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let small = Self.untied()
        let model = try Self.load(small, context)
        let values = small.values(module.weightName)
        let trained = Self.weight(values, context)
        try model.train(model.tensors.wholeModule(named: module.name), trained)
        _ = try loss(model, recording: true)
        let gradient = trained.gradient.toArray()
        let error = try gradientError(gradient, at: values) { changed in
            trained.value.copy(from: changed)
            return try loss(model)
        }
        #expect(error < Self.gradientTolerance)
        // Evaluation adds nothing.
        #expect(trained.gradient.toArray() == gradient)
    }

    /// Both at once: each gets the gradient that it gets alone.
    @Test func headAndEmbeddingCanBeTrainedTogether() throws {
        let context = ComputeContext(dtype: .f32, threadCount: 2)
        let small = Self.untied()
        func gradients(_ modules: [WholeModule]) throws -> [[Float]] {
            let model = try Self.load(small, context)
            let weights = try modules.map { module in
                let weight = Self.weight(small.values(module.weightName), context)
                try model.train(model.tensors.wholeModule(named: module.name), weight)
                return weight
            }
            _ = try loss(model, recording: true)
            return weights.map { $0.gradient.toArray() }
        }
        let together = try gradients([.outputHead, .embedding])
        #expect(try gradients([.outputHead]) + gradients([.embedding]) == together)
    }

    /// Embedding rows, logits, generation: all as of a checkpoint that holds the trained weights.
    @Test(arguments: WholeModule.allCases, [DType.f32, .bf16])
    func modelComputesWithTheTrainedWeight(module: WholeModule, dtype: DType) throws {
        let context = ComputeContext(dtype: dtype, threadCount: 1)
        let values = randomValues(80, seed: 99)
        var other = Self.untied()
        other.tensors[other.tensors.firstIndex { $0.name == module.weightName }!].values = values
        let expected = try Self.load(other, context)
        let model = try Self.load(Self.untied(), context)
        let trained = Self.weight(Self.untied().values(module.weightName), context)
        let before = try logits(model)
        try model.train(model.tensors.wholeModule(named: module.name), trained)
        #expect(try logits(model) == before)
        trained.value.copy(from: values)
        trained.refresh()
        #expect(try logits(model) == logits(expected))
        #expect(try logits(model) != before)
        #expect(try logits(model, model.makeCache(capacity: 11)) == logits(expected, expected.makeCache(capacity: 11)))
        #expect(try loss(model) == loss(expected))
    }

    private static func tied() -> SmallModel {
        var small = untied()
        small.remove("lm_head.weight")
        small.configuration["tie_word_embeddings"] = .bool(true)
        return small
    }

    @Test(arguments: WholeModule.allCases) func trainingBeginsWithTheBasesWeightUnlessItIsTied(module: WholeModule)
        throws
    {
        try withTemporaryFolder { folder in
            try Self.untied().write(to: folder)
            let values = Self.untied().values(module.weightName)
            let untied = try ModelCheckpoint.open(folder)
            #expect(try untied.initialWeight(of: untied.specifications.wholeModule(named: module.name)) == values)
            try Self.tied().write(to: folder)
            let tied = try ModelCheckpoint.open(folder)
            let error = try #require(throws: ModelError.self) {
                try tied.initialWeight(of: tied.specifications.wholeModule(named: module.name))
            }
            #expect(error.exitStatus == .unsupported)
            #expect(error.description.contains("'\(module.name)' cannot be trained whole"))
        }
    }

    /// Adapters of peft's untie so.
    @Test(arguments: WholeModule.allCases) func theOtherOfATiedPairStays(module: WholeModule) throws {
        let context = ComputeContext(dtype: .f32, threadCount: 1)
        let small = Self.tied()
        let model = try Self.load(small, context)
        let before = try logits(model)
        let values = randomValues(80, seed: 98)
        try model.train(model.tensors.wholeModule(named: module.name), Self.weight(values, context))
        var other = small
        other.configuration["tie_word_embeddings"] = .bool(false)
        other.tensors.append(("lm_head.weight", [10, 8], small.values("model.embed_tokens.weight")))
        other.tensors[other.tensors.firstIndex { $0.name == module.weightName }!].values = values
        let found = try logits(model)
        #expect(try found != before && found == logits(Self.load(other, context)))
    }

    @Test func modulesAreFoundByNameAndPathAlone() throws {
        let tensors = try Self.load(Self.tied(), ComputeContext(dtype: .f32, threadCount: 1)).tensors
        #expect(try tensors.wholeModule(named: "lm_head").role == .outputHead)
        #expect(try tensors.wholeModule(named: "embed_tokens").role == .embedding)
        #expect(try tensors.wholeModule(named: "model.embed_tokens").role == .embedding)
        for name in ["q_proj", "norm", "lm_head.weight", "", "tokens", "el.embed_tokens"] {
            let expected = ModelError.notTrainableWhole(module: name, trainable: ["lm_head", "embed_tokens"])
            let error = #expect(throws: expected) { try tensors.wholeModule(named: name) }
            #expect(error?.exitStatus == .unsupported)
        }
    }
}

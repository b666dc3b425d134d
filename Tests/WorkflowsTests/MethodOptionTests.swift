import Adapters
import Compute
import TestSupport
import Testing
import Workflows

/// The numbers of a new adapter by method, as `inject` writes them.
@Suite struct MethodOptionTests {
    private func configuration(
        _ method: String, _ change: (inout InjectRequest) -> Void = { _ in }
    ) throws -> AdapterConfiguration {
        try withTemporaryFolder { folder in
            var request = InjectRequest(basePath: fixture("tiny-llama"), outputPath: folder + "/adapter")
            request.method = method
            request.targets = "q_proj"
            change(&request)
            _ = try injectAdapter(request)
            return try AdapterDirectory.read(folder + "/adapter").configuration
        }
    }

    @Test func everyMethodHasItsDefaults() throws {
        for kind in AdapterKind.allCases {
            for isGated in [false, true] {
                let found = try configuration(kind.methodName(gated: isGated))
                #expect(found.kind == kind && found.isGated == isGated)
                #expect(found.dropout == 0)
                switch kind {
                case .lora, .dora: #expect(found.rank == 32 && found.scaling(for: "q_proj") == 0.5)
                case .adalora:
                    #expect(found.rank == 64 && found.adaLoRA.targetRank == 32 && found.alpha == 32)
                    #expect(found.adaLoRA.initialSteps == 0 && found.adaLoRA.finalSteps == 0)
                    #expect(found.adaLoRA.interval == 1 && found.adaLoRA.beta1 == 0.85)
                case .adapter:
                    #expect(found.rank == 32 && found.bottleneck.activation == .tanh)
                    #expect(found.scaling(for: "q_proj") == 1)
                case .vera: #expect(found.rank == 256 && found.vera.initialD == 0.1)
                }
            }
        }
    }

    @Test func optionsLandInTheConfiguration() throws {
        let adaLoRA = try configuration("ts-adalora") {
            $0.options.initialRank = 6
            $0.options.targetRank = 2
            $0.options.initialSteps = 3
            $0.options.finalSteps = 4
            $0.options.interval = 5
            $0.options.beta1 = 0.5
            $0.options.beta2 = 0.6
            $0.options.orthogonalWeight = 0.25
            $0.options.alpha = 12
        }
        var expected = AdaLoRASettings()
        expected.targetRank = 2
        expected.initialSteps = 3
        expected.finalSteps = 4
        expected.interval = 5
        expected.beta1 = 0.5
        expected.beta2 = 0.6
        expected.orthogonalWeight = 0.25
        // What the file says before a run, since peft loads none without: tinit + tfinal + 1.
        expected.totalSteps = 8
        #expect(adaLoRA.rank == 6 && adaLoRA.alpha == 12 && adaLoRA.adaLoRA == expected)

        let adapter = try configuration("adapter") {
            $0.options.adapterSize = 7
            $0.options.activation = .gelu
            $0.options.scaling = 0.75
        }
        #expect(adapter.rank == 7 && adapter.bottleneck.activation == .gelu && adapter.bottleneck.scaling == 0.75)

        let vera = try configuration("vera") {
            $0.options.rank = 5
            $0.options.initialD = 0.2
            $0.options.projectionKey = 9
        }
        #expect(vera.rank == 5 && vera.vera.initialD == 0.2 && vera.vera.projectionKey == 9)

        #expect(try configuration("lora") { $0.options.hasLoRABias = true }.hasLoRABias)
    }

    @Test func targetRankIsHalfOfTheFirstUnlessGiven() throws {
        #expect(try configuration("adalora") { $0.options.rank = 5 }.adaLoRA.targetRank == 3)
        let preset = try configuration("adalora") { $0.preset = .csr }
        #expect(preset.rank == 64 && preset.adaLoRA.targetRank == 32 && preset.dropout == 0.05)
        let own = try configuration("adalora") {
            $0.preset = .csr
            $0.options.rank = 8
        }
        #expect(own.rank == 8 && own.adaLoRA.targetRank == 4)
    }

    /// Each option of one method alone, and a method that it does not belong to.
    static let strangers: [(name: String, method: String, set: @Sendable (inout MethodOptions) -> Void)] = [
        ("--init-r", "lora", { $0.initialRank = 4 }),
        ("--adapter-size", "vera", { $0.adapterSize = 4 }),
        ("--alpha", "ts-vera", { $0.alpha = 4 }),
        ("--alpha", "adapter", { $0.alpha = 4 }),
        ("--rslora", "adalora", { $0.usesRSLoRA = true }),
        ("--lora-bias", "dora", { $0.hasLoRABias = true }),
        ("--rank-pattern", "vera", { $0.rankPattern = [.init("q_proj", 2)] }),
        ("--alpha-pattern", "adalora", { $0.alphaPattern = [.init("q_proj", 2)] }),
        ("--target-r", "dora", { $0.targetRank = 2 }),
        ("--tinit", "lora", { $0.initialSteps = 2 }),
        ("--tfinal", "lora", { $0.finalSteps = 2 }),
        ("--delta-t", "ts-adapter", { $0.interval = 2 }),
        ("--beta1", "lora", { $0.beta1 = 0.5 }),
        ("--beta2", "lora", { $0.beta2 = 0.5 }),
        ("--orth-reg-weight", "lora", { $0.orthogonalWeight = 0.5 }),
        ("--non-linearity", "ts-lora", { $0.activation = .relu }),
        ("--scaling", "lora", { $0.scaling = 2 }),
        ("--d-initial", "adalora", { $0.initialD = 0.1 }),
        ("--projection-key", "adapter", { $0.projectionKey = 1 }),
    ]

    @Test(arguments: strangers.indices) func optionOfAnotherMethodIsRefusedByName(_ index: Int) throws {
        let (name, method, set) = Self.strangers[index]
        do {
            _ = try configuration(method) { set(&$0.options) }
            Issue.record("\(name) was taken for \(method)")
        } catch let error as WorkflowError {
            #expect(error.exitStatus == .usage)
            #expect(error.description.hasPrefix(name + " belongs to "))
        }
    }

    @Test func twoNamesOfTheRankMustAgree() throws {
        #expect(throws: WorkflowError.conflict("--rank 4 and --init-r 6 are two names of one number")) {
            _ = try configuration("adalora") {
                $0.options.rank = 4
                $0.options.initialRank = 6
            }
        }
    }
}

import Transforms

/// What a merge did, as measured on what was written.
public struct MergeSummary: Sendable {
    /// The transforms' report.
    package let report: MergeReport

    /// A module's outcome.
    public struct Module: Sendable, Equatable {
        /// The module's path.
        public let module: String
        /// What its update was multiplied by in place of the gate, beside weight and scaling; 1 without a gate.
        public let factor: Double
        /// The expected error of that: the root of sum |S M - c M|^2 / sum |W0 x|^2 over the statistics' tokens.
        public let expectedError: Double
        /// Weights of the module's tensors.
        public let weightCount: Int
        /// Of these, those whose stored bits differ from the base's.
        public let changedCount: Int
        /// The largest |merged - base| as stored.
        public let largestChange: Float
    }

    /// An adapter's outcome.
    public struct Adapter: Sendable {
        /// The adapter's path.
        public let path: String
        /// Its method, such as `ts-lora`.
        public let method: String
        /// The factor on its updates.
        public let weight: Double
        /// Its modules in the base's order, those included whose weights stay as they were.
        public let modules: [Module]
        /// Modules that stay as the base has them because their gates never opened over the statistics' tokens.
        public let neverFiring: [String]
        /// Modules whose whole update was lost in rounding to the stored type.
        public let lostInRounding: [String]
        /// The mean of `expectedError` over the modules that have a gate.
        public let meanError: Double
    }

    /// The adapters, in the order in which they were given.
    public var adapters: [Adapter] {
        report.parts.map { part in
            Adapter(
                path: part.plan.name, method: part.plan.method, weight: part.plan.weight,
                modules: part.modules.map(Module.init), neverFiring: part.neverFiring.map(\.plan.module),
                lostInRounding: part.lostInRounding.map(\.plan.module), meanError: part.meanError)
        }
    }
    /// Modules that an adapter has.
    public var moduleCount: Int { report.moduleCount }
    /// Modules whose weights changed.
    public var mergedCount: Int { report.mergedCount }
    /// Weights whose stored bits differ from the base's.
    public var changedCount: Int { report.changedCount }
    /// Weights of the whole checkpoint.
    public var weightCount: Int { report.checkpointWeightCount }
    /// The largest |merged - base| as stored.
    public var largestChange: Float { report.largestChange }
    /// The names of the files that hold the tensors.
    public var tensorFiles: [String] { report.tensorFiles }
    /// The types that changed tensors are stored in, such as `BF16`.
    public var types: [String] { report.dtypes }
    /// Tensors of the base that are no part of the model and were left out, by their own names.
    public var droppedTensors: [String] { report.droppedTensors }
}

extension MergeSummary.Module {
    fileprivate init(_ module: MergeReport.Module) {
        self.module = module.plan.module
        factor = module.plan.factor
        expectedError = module.plan.expectedError
        weightCount = module.weightCount
        changedCount = module.changedCount
        largestChange = module.largestChange
    }
}

import Adapters
import CheckpointIO
import Models
import Transforms

/// What an export wrote.
public struct ExportSummary: Sendable {
    /// The transforms' report.
    package let report: ExportReport

    /// The adapter's method, such as `ts-lora`.
    public var method: String { report.method }
    /// The paths of the modules that were written.
    public var modules: [String] { report.modules.filter { $0.omission == nil }.map(\.module) }
    /// Why each other module was not written, by its path.
    public var omissions: [String: String] {
        report.modules.reduce(into: [:]) { omissions, module in omissions[module.module] = module.omission }
    }
    /// What was folded, padded or left out, a sentence each.
    public var notes: [String] { report.notes }
}

/// What a conversion wrote.
public struct ConvertSummary: Sendable {
    /// The workflow's report.
    package let report: ConversionReport
    /// Where the result is.
    public let outputPath: String

    /// Files that hold tensors: paths of a checkpoint's, names within an adapter.
    public var tensorFiles: [String] {
        switch report {
        case .checkpoint(let plan, _): plan.files.map(\.path)
        case .packed(let report), .unpacked(let report): report.packed.filter { $0.hasSuffix(".safetensors") }
        }
    }

    /// Bytes of tensor files, packed where the format packs them; of an adapter all of its content, unpacked.
    public var byteCount: Int {
        switch report {
        case .checkpoint(let plan, let packed): packed ?? plan.byteCount
        case .packed(let report), .unpacked(let report): report.contentBytes
        }
    }

    /// What a user should know of the result, a sentence each.
    public var notes: [String] {
        switch report {
        case .checkpoint(let plan, _): plan.notes
        case .packed(let report), .unpacked(let report):
            report.leftOut.isEmpty
                ? [] : ["left out, as no part of an adapter: " + report.leftOut.joined(separator: ", ")]
        }
    }
}

/// What is at a path, from headers alone.
public struct FileSummary: Sendable {
    /// What a path turned out to be.
    public enum Kind: String, Sendable, CaseIterable {
        /// A model's files, or other files of tensors.
        case checkpoint
        /// An adapter: a directory, a pack, or llama.cpp's GGUF form.
        case adapter
        /// A training run that has no finished adapter.
        case run
    }

    /// A tensor as it is stored.
    public struct Tensor: Sendable, Equatable {
        /// Its name in the file.
        public let name: String
        /// Its extents, row-major, outermost first, whatever order the format writes them in.
        public let shape: [Int]
        /// How it is stored, such as `BF16` or `Q4_K`.
        public let type: String
        /// Bytes that it takes in the file.
        public let byteCount: Int
        /// The name of the file that holds it.
        public let file: String
    }

    /// What it is.
    public let kind: Kind
    /// A checkpoint's architecture as the files name it, known or not; nil where they name none.
    public private(set) var architecture: String?
    /// Numbers of the model, or of the adapter with its thresholds; nil where the files are no model that is known.
    public private(set) var parameterCount: Int?
    /// Why a checkpoint cannot be used as a model, a sentence; nil where it can.
    public private(set) var problem: String?
    /// An adapter's method, such as `ts-lora`.
    public private(set) var method: String?
    /// An adapter's modules, in their order; empty for anything else.
    public private(set) var modules: [String] = []
    /// Mean sparsity over an adapter's stored statistics (equation 21); nil where it has none.
    public private(set) var meanSparsity: Double?
    /// The paths of a run's checkpoints, by rising step; empty for anything else.
    public private(set) var checkpoints: [String] = []
    /// The tensors that were asked for, in their order.
    public let tensors: [Tensor]

    /// What the workflow found.
    init(_ inspection: Inspection) {
        switch inspection {
        case .checkpoint(let found):
            self.init(.checkpoint, found.tensors)
            architecture = found.namedArchitecture
            parameterCount = found.parameterCount
            problem = found.modelProblem?.description
        case .adapterFile(let found):
            self.init(.adapter, found.tensors)
            architecture = found.facts.architecture
            method = found.facts.method
            modules = found.facts.modules.map(\.name)
        case .adapter(let found):
            let adapter = found.adapter
            self.init(.adapter, found.tensors)
            parameterCount = adapter.parameterCount + adapter.thresholds.count
            method = adapter.configuration.methodName
            modules = adapter.modules
            meanSparsity = adapter.statistics.map { adapter.configuration.meanSparsity($0.modules) }
        case .run(let found):
            self.init(.run, nil)
            checkpoints = found.checkpoints.map { joinedPath(found.path, $0) }
        }
    }

    private init(_ kind: Kind, _ table: TensorTable?) {
        self.kind = kind
        tensors = (table?.tensors ?? []).map { tensor in
            Tensor(
                name: tensor.record.name, shape: tensor.record.shape, type: tensor.record.encoding.description,
                byteCount: tensor.record.byteCount, file: tensor.file)
        }
    }
}

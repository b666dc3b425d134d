import CKernels
import COneDNN
import Glibc

/// Which of the processor's instructions computations use: decided here, once in the life of a program, for the kernels
/// and for oneDNN together. What a tensor is stored in is another question: where BF16 is not multiplied, operands in
/// BF16 are decoded into F32 products.
package struct ProcessorPaths: Sendable {
    /// The vector instructions of the kernels, `plain`, `avx2` or `avx512`.
    package let kernels: String
    /// The highest instruction set that oneDNN may use, by its own name.
    package let products: String
    /// Whether products of BF16 operands are the processor's own (AVX-512 BF16 or AMX).
    package let multipliesBF16: Bool
    /// oneDNN's version, such as `2.6.3`.
    package let libraryVersion: String
    /// The processor's name as the system gives it.
    package let processor: String

    /// The environment variable that limits the paths.
    package static let limitVariable = "TSPEFT_CPU_LEVEL"

    /// What this program uses on this processor.
    package static let current = ProcessorPaths()

    private init() {
        let level = tspeft_cpu_level()
        kernels = String(cString: tspeft_level_name(level))
        Self.limitOneDNN(to: level)
        let effective = dnnl_get_effective_cpu_isa()
        products = String(cString: dnnl_cpu_isa2str(effective)).replacingPrefix("cpu_isa_", with: "")
        let needed = UInt32(dnnl_cpu_isa_avx512_core_bf16.rawValue)
        multipliesBF16 = tspeft_multiplies_bf16() != 0 && UInt32(effective.rawValue) & needed == needed
        let version = dnnl_version().pointee
        libraryVersion = "\(version.major).\(version.minor).\(version.patch)"
        processor = Self.processorName()
    }

    /// What is used, for messages: `AMD EPYC (x86_64), kernels avx2, products avx2 without BF16`.
    package var summary: String {
        "\(processor), kernels \(kernels), products \(products) \(multipliesBF16 ? "with" : "without") BF16"
    }

    /// oneDNN reads its limit before its first call. A user's own lower one (`ONEDNN_MAX_CPU_ISA`) stays.
    private static func limitOneDNN(to level: Int32) {
        #if arch(x86_64)
            let asked = (getenv("ONEDNN_MAX_CPU_ISA") ?? getenv("DNNL_MAX_CPU_ISA")).map {
                String(cString: $0).uppercased()
            }
            switch level {
            case 0: dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41)
            case 1 where asked != "SSE41" && asked != "AVX": dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2)
            default: break
            }
        #endif
    }

    private static func processorName() -> String {
        var names = utsname()
        uname(&names)
        let machine = withUnsafeBytes(of: names.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        guard let file = fopen("/proc/cpuinfo", "r") else { return machine }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 512)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = line.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 && $0 != 10 }, as: UTF8.self) }
            guard text.hasPrefix("model name"), let colon = text.firstIndex(of: ":") else { continue }
            return text[text.index(after: colon)...].drop { $0 == " " } + " (\(machine))"
        }
        return machine
    }
}

extension String {
    fileprivate func replacingPrefix(_ prefix: String, with other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}

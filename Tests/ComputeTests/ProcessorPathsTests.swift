import CKernels
import Compute
import Testing

/// One switch limits kernels and oneDNN together.
@Suite struct ProcessorPathsTests {
    private let paths = ProcessorPaths.current

    @Test func oneDNNKeepsToTheLevelOfTheKernels() {
        print("paths in use: \(paths.summary)")
        #expect(paths.kernels == String(cString: tspeft_level_name(tspeft_cpu_level())))
        switch paths.kernels {
        case "plain": #expect(paths.products == "sse41")
        case "avx2": #expect(["sse41", "avx", "avx2", "avx2_vnni"].contains(paths.products))
        default: #expect(!paths.products.isEmpty)
        }
    }

    @Test func productsOfBF16NeedBothOfThem() {
        if paths.multipliesBF16 {
            #expect(tspeft_multiplies_bf16() == 1 && paths.products.contains("bf16") || paths.products.contains("amx"))
        } else {
            #expect(!MatrixProducts().multipliesBF16)
        }
    }
}

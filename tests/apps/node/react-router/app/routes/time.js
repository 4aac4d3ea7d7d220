export const loader = ({ request }) => new Response(`asked at ${new URL(request.url).pathname}`);
